"""Rows that are read chunk by chunk, and what is gathered and summed of them."""
