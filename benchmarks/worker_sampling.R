# Worker of sampling.py: rstanarm or brms, by the first argument. The protocol is that of worker_sampling_loop.py; the
# task is one line of fields with tabs between them (data, formula, factors, chains, draws, tune, cores).
options(warn = 1)
engine <- commandArgs(trailingOnly = TRUE)[1]
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "worker_answers.R"))

load_or_leave(engine)
input <- file("stdin", open = "r")
task <- strsplit(readLines(input, 1), "\t", fixed = TRUE)[[1]]
model <- as.formula(task[2])
frame <- read_frame(task[1], task[3])
if (engine == "brms") {
  # Debian keeps the headers of Boost and Eigen outside of the R packages, where rstan does not look.
  rstan::rstan_options(boost_lib = "/usr/include")
}
length_of <- list(chains = as.integer(task[4]), draws = as.integer(task[5]), tune = as.integer(task[6]))
# Both packages advise on loading to set mc.cores; without it their chains run one after another.
options(mc.cores = as.integer(task[7]))

fitted <- NULL
settings <- function(seed) {
  with(length_of, list(chains = chains, iter = draws + tune, warmup = tune, seed = seed, refresh = 0))
}
engines <- list(
  rstanarm = list(
    sample = function(seed) do.call(stan_lmer, c(list(model, data = frame), settings(seed))),
    draws = function(fit) fit$stanfit,
    # Coefficients, sigma and covariances; the random effects are b[...].
    wanted = function(names) !grepl("^b\\[|^mean_PPD$|^log-posterior$", names)
  ),
  brms = list(
    # A second model of the same shape need not be compiled again: update() is how brms is told so.
    sample = function(seed) {
      if (is.null(fitted)) do.call(brm, c(list(model, data = frame), settings(seed)))
      else do.call(update, c(list(fitted, newdata = frame), settings(seed)))
    },
    draws = function(fit) fit$fit,
    wanted = function(names) grepl("^b_|^sd_|^cor_|^sigma$", names)
  )
)
chosen <- engines[[engine]]

write_draws <- function(stanfit, path) {
  draws <- as.array(stanfit)  # draws, chains, parameters
  kept <- which(chosen$wanted(dimnames(draws)$parameters))
  long <- matrix(draws[, , kept], ncol = length(kept), dimnames = list(NULL, dimnames(draws)$parameters[kept]))
  index <- expand.grid(draw = seq_len(dim(draws)[1]), chain = seq_len(dim(draws)[2]))
  write.csv(cbind(index, long), path, row.names = FALSE)
}

tell(ready = text(as.character(packageVersion(engine))))
while (length(line <- readLines(input, 1)) == 1) {
  request <- strsplit(line, "\t", fixed = TRUE)[[1]]
  tryCatch({
    run <- timed(function() chosen$sample(as.integer(request[2])))
    fitted <- run$value
    write_draws(chosen$draws(fitted), request[3])
    tell(seconds = number(run$seconds), divergences = number(rstan::get_num_divergent(chosen$draws(fitted))))
    rm(run)
  }, error = function(problem) tell(error = text(conditionMessage(problem))))
}
