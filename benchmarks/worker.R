# Worker: lme4 or glmmTMB, by the first argument. The protocol is that of worker_loop.py; the task is one line of four
# fields with tabs between them (data, formula, method, factors), because plain R reads no JSON.
options(warn = 1)
engine <- commandArgs(trailingOnly = TRUE)[1]

here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "worker_answers.R"))

load_or_leave(engine)
input <- file("stdin", open = "r")
task <- strsplit(readLines(input, 1), "\t", fixed = TRUE)[[1]]
model <- as.formula(task[2])
reml <- task[3] == "reml"
frame <- read_frame(task[1], task[4])

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
