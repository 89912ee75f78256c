"""Tables, column types, rows used and names."""
