# Worker: lme4 or glmmTMB, by the first argument. The protocol is that of worker_loop.py; the task is one line of four
# fields with tabs between them (data, formula, method, factors), because plain R reads no JSON.
options(warn = 1)
engine <- commandArgs(trailingOnly = TRUE)[1]

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

if (!requireNamespace(engine, quietly = TRUE)) {
  tell(skipped = text(paste("the R package", engine, "is not installed")))
  quit(status = 0)
}
suppressPackageStartupMessages(library(engine, character.only = TRUE))

input <- file("stdin", open = "r")
task <- strsplit(readLines(input, 1), "\t", fixed = TRUE)[[1]]
model <- as.formula(task[2])
reml <- task[3] == "reml"
columns <- names(read.csv(task[1], nrows = 1, check.names = FALSE))
factors <- strsplit(task[4], ",", fixed = TRUE)[[1]]
frame <- read.csv(task[1], check.names = FALSE, colClasses = ifelse(columns %in% factors, "factor", NA))

engines <- list(
  lme4 = list(
    fit = function() lmer(model, data = frame, REML = reml),
    # Standard errors of the fixed effects, and conditional modes without theirs.
    tables = function(fit) list(coef(summary(fit)), ranef(fit, condVar = FALSE)),
    evaluations = function(fit) fit@optinfo$feval
  ),
  glmmTMB = list(
    fit = function() glmmTMB(model, data = frame, REML = reml),
    tables = function(fit) list(summary(fit)$coefficients$cond, ranef(fit, condVar = FALSE)),
    evaluations = function(fit) fit$fit$evaluations[["function"]]
  )
)
chosen <- engines[[engine]]

# What the packages print goes to standard error; standard output is for answers.
timed <- function(call) {
  sink(stderr())
  on.exit(sink())
  gc()
  begin <- as.numeric(Sys.time())
  value <- call()
  list(seconds = as.numeric(Sys.time()) - begin, value = value)
}

tell(ready = text(as.character(packageVersion(engine))))
fitted <- NULL
while (length(line <- readLines(input, 1)) == 1) {
  tryCatch({
    if (line == "fit") {
      fitted <- NULL
      run <- timed(chosen$fit)
      fitted <- run$value
      tell(
        seconds = number(run$seconds), loglik = number(as.numeric(logLik(fitted))),
        evaluations = number(chosen$evaluations(fitted))
      )
    } else {
      run <- timed(function() chosen$tables(fitted))
      tell(seconds = number(run$seconds))
    }
    rm(run)
  }, error = function(problem) tell(error = text(conditionMessage(problem))))
}
