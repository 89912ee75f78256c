# What both R workers share: answers as lines of JSON, the data frame, and the clock.

text <- function(x) {
  x <- gsub("[[:cntrl:]]+", " ", substr(x, 1, 300))
  paste0("\"", gsub("([\"\\\\])", "\\\\\\1", x), "\"")
}
number <- function(x) if (length(x) == 1 && is.finite(x)) sprintf("%.17g", x) else "null"
tell <- function(...) {
  fields <- c(...)
  cat("{", paste0("\"", names(fields), "\": ", fields, collapse = ", "), "}\n", sep = "")
  flush(stdout())
}

load_or_leave <- function(package) {
  if (!requireNamespace(package, quietly = TRUE)) {
    tell(skipped = text(paste("the R package", package, "is not installed")))
    quit(status = 0)
  }
  suppressPackageStartupMessages(library(package, character.only = TRUE))
}

read_frame <- function(path, factors) {
  columns <- names(read.csv(path, nrows = 1, check.names = FALSE))
  factors <- strsplit(factors, ",", fixed = TRUE)[[1]]
  read.csv(path, check.names = FALSE, colClasses = ifelse(columns %in% factors, "factor", NA))
}

# What the packages print goes to standard error; standard output is for answers.
timed <- function(call) {
  sink(stderr())
  on.exit(sink())
  gc()
  begin <- as.numeric(Sys.time())
  value <- call()
  list(seconds = as.numeric(Sys.time()) - begin, value = value)
}
