"""How much is taken from a stranger: the largest formulas, transformations, tables, files and messages, with reasons.

Each limit is far beyond what a mixed model is fitted to, and small enough that what lies below it is done in moments
or fits into memory. They hold wherever a formula or a table comes from: typed, from a file, or from a saved result.
"""

# Messages. A terminal of the usual size must show an error from its beginning to its advice.
MESSAGE_LINES = 24
MESSAGE_COLUMNS = 80
NAMES_LISTED = 20  # names that a message writes out
NAME_COLUMNS = 60  # of a name in such a list

# Formulas. Reading takes time in proportion to their length.
FORMULA_CHARACTERS = 100_000  # two thousand terms of fifty characters
NUMBER_CHARACTERS = 400  # a double has 309 digits at most, and 17 that count
FORMULA_DEPTH = 80  # of brackets, powers and chains of * / : in each other; each level costs up to five Python frames
FORMULA_TERMS = 2_000  # of one side of a formula, expanded; each is a coefficient at least
FORMULA_PRODUCTS = 200_000  # of terms with terms while a formula is expanded: a tenth of a second
PRIOR_CHARACTERS = 2_000  # of one --priors, the name of its parameter with it
RANDOM_TERMS = 200  # a/b/c counts as three; a dozen crossed factors are many

# Designs.
BASIS_COLUMNS = 500  # of one bs, cr, cc, tp or poly; some ten are usual
BASIS_SITES = 2_000  # of tp: its own default, and mgcv's; their kernel is a dense matrix
COLUMNS = 2_000  # of the fixed part or of what stands left of a bar; which of them depend on others takes a minute
NUMBERS = 2**30  # of one dense matrix of columns: 8 GiB
COVARIANCE_PARAMETERS = 2_000  # sds and correlations: sixty correlated effects; the search inverts a matrix of them

# Posteriors.
CHAINS = 10_000  # some dozens are many, thousands fill an accelerator
TUNE = 1_000_000  # iterations of warm-up: hours even where one takes milliseconds
KEPT_DRAWS = 2**26  # of all chains together: half a GiB for each parameter
DESIGN_ROWS = 10_000_000  # of a design whose power is asked for: some GiB of columns
REPLICATES = 1_000_000  # data sets that a bootstrap, a test or a check draws: a thousand are usual

# Files of data, on the command line.
FILE_BYTES = 4 * 2**30  # of text, packed or not: the numbers in it take several times as much memory
PACKED_RATIO = 100  # what a packed file may unpack to, in times of its own size: tables are packed to a tenth of theirs
PACKED_BYTES = 2**28  # and what it may unpack to however small it is: 256 MiB
FILE_COLUMNS = 50_000  # all genes of a mammal; read in a second or two
HEADER_BYTES = 2**24  # of the first line

# Pages that reports are written to.
PAGE_BYTES = 2_000_000  # what goes into a message; figures that do not fit are left out, the largest first
