"""How much is taken from a stranger: the largest formulas, transformations, tables, files and messages, with reasons.

Each limit is far beyond what a mixed model is fitted to, and small enough that what lies below it is done in moments
or fits into memory. They hold wherever a formula or a table comes from: typed, from a file, or from a saved posterior.
"""

# Messages. A terminal of the usual size must show an error from its beginning to its advice.
MESSAGE_LINES = 24
MESSAGE_COLUMNS = 80
NAMES_LISTED = 20  # names that a message writes out
NAME_COLUMNS = 60  # of a name in such a list
