"""Designs whose cross-products are taken apart into sums of squares, so that no digits are lost."""
