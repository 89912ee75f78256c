"""How columns are computed, for the data and for new rows."""
