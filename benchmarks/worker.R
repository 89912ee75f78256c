# Worker: lme4, glmmTMB, nlme or mmrm, by the first argument. The protocol is that of worker_loop.py; the task is one line
# of five fields with tabs between them (data, formula, method, factors, call), because plain R reads no JSON. A call, where
# there is one, is what is fitted: an expression over `frame` and `reml`.
options(warn = 1)
engine <- commandArgs(trailingOnly = TRUE)[1]

here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "worker_answers.R"))

load_or_leave(engine)
input <- file("stdin", open = "r")
task <- strsplit(paste0(readLines(input, 1), "\t "), "\t", fixed = TRUE)[[1]]
model <- as.formula(task[2])
reml <- task[3] == "reml"
frame <- read_frame(task[1], task[4])
wanted <- if (nzchar(trimws(task[5]))) parse(text = task[5])[[1]]

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
  ),
  nlme = list(
    tables = function(fit) list(summary(fit)$tTable, if (inherits(fit, "lme")) ranef(fit)),
    evaluations = function(fit) NA
  ),
  mmrm = list(
    tables = function(fit) coef(summary(fit)),
    evaluations = function(fit) NA
  )
)
chosen <- engines[[engine]]
if (!is.null(wanted)) chosen$fit <- function() eval(wanted)

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
