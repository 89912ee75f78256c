"""The passes over the rows, and the cross-products that they leave."""
