"""A design in words and symbols."""
