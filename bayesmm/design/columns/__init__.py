"""From expressions to columns."""
