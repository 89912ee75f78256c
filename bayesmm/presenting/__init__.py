"""What every result shows, in a terminal and in a notebook: columns of tables, intervals, numbers, text and HTML."""
