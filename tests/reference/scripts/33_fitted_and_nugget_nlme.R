# Reference values of variances by the fitted value and of nuggets: nlme::gls and nlme::lme on data sets of nlme.
#   Rscript tests/reference/scripts/33_fitted_and_nugget_nlme.R      from the root of a clone
# lme ends its own iteration of fitted values before they settle (4e-5 of a log likelihood for Orthodont): here lme is
# fitted again and again with the fitted values of the last fit as a covariate, until these do not move.
suppressPackageStartupMessages({ library(nlme); library(jsonlite) })
options(contrasts = c("contr.treatment", "contr.treatment"), digits = 15, warn = 1)
plain <- function(d) { d <- as.data.frame(d); for (n in names(d)) if (is.ordered(d[[n]])) d[[n]] <- factor(as.character(d[[n]])); d }
O <- plain(Orthodont); O$Sex <- relevel(factor(as.character(O$Sex)), "Female"); B <- plain(BodyWeight); V <- plain(Ovary)
g <- function(...) glsControl(maxIter = 500, msMaxIter = 3000, tolerance = 1e-11, msTol = 1e-14, ...)
l <- function(...) lmeControl(maxIter = 500, msMaxIter = 5000, msMaxEval = 5000, niterEM = 50, tolerance = 1e-11, msTol = 1e-14, ...)
DIST <- distance ~ age * Sex; WEIGHT <- weight ~ Time * Diet; FOLL <- follicles ~ Time
specs <- list(
  list("orthodont_power", "orthodont", O, DIST, "power(fitted)", var = varPower()),
  list("orthodont_exponential", "orthodont", O, DIST, "exponential(fitted)", var = varExp()),
  list("orthodont_intercept_power", "orthodont", O, DIST, "power(fitted)", random = ~ 1 | Subject, ours = "(1 | Subject)", var = varPower(form = ~ v)),
  list("bodyweight_power", "bodyweight", B, WEIGHT, "power(fitted)", var = varPower()),
  list("bodyweight_slope_power", "bodyweight", B, WEIGHT, "power(fitted)", random = ~ Time | Rat, ours = "(Time | Rat)", var = varPower(form = ~ v)),
  list("bodyweight_slope_exponential", "bodyweight", B, WEIGHT, "exponential(fitted)", random = ~ Time | Rat, ours = "(Time | Rat)", var = varExp(form = ~ v)),
  list("bodyweight_slope_power_car1", "bodyweight", B, WEIGHT, "car1(Time | Rat) * power(fitted)", random = ~ Time | Rat, ours = "(Time | Rat)", var = varPower(form = ~ v), cor = corCAR1(form = ~ Time)),
  list("ovary_power_car1", "ovary", V, FOLL, "car1(Time | Mare) * power(fitted)", var = varPower(), cor = corCAR1(form = ~ Time | Mare)),
  list("bodyweight_nugget", "bodyweight", B, WEIGHT, "exp(Time | Rat, nugget=True)", cor = corExp(form = ~ Time | Rat, nugget = TRUE)),
  list("bodyweight_slope_nugget", "bodyweight", B, WEIGHT, "exp(Time | Rat, nugget=True)", random = ~ Time | Rat, ours = "(Time | Rat)", cor = corExp(form = ~ Time, nugget = TRUE)),
  list("ovary_nugget", "ovary", V, FOLL, "exp(Time | Mare, nugget=True)", cor = corExp(form = ~ Time | Mare, nugget = TRUE)),
  list("ovary_nugget_power", "ovary", V, FOLL, "exp(Time | Mare, nugget=True) * power(fitted)", var = varPower(), cor = corExp(form = ~ Time | Mare, nugget = TRUE)))

fit_once <- function(s, d, method, control, lme) {
  args <- list(s[[4]], data = d, method = method, control = control, correlation = s$cor, weights = s$var)
  if (lme) args$random <- s$random
  suppressWarnings(tryCatch(do.call(if (lme) "lme" else "gls", args), error = function(e) NULL))
}
run <- function(s, method) {
  lme <- !is.null(s$random); best <- NULL
  for (o in c("nlminb", "optim")) {
    d <- s[[3]]; control <- if (lme) l(opt = o, optimMethod = "BFGS") else g(opt = o, optimMethod = "BFGS")
    d$v <- fitted(lm(s[[4]], d)); m <- NULL; moved <- 0
    for (i in 1:100) {
      m <- fit_once(s, d, method, control, lme)
      if (is.null(m) || !lme) break
      moved <- max(abs(fitted(m) - d$v)); d$v <- as.numeric(fitted(m))
      if (is.null(s$var) || moved < 1e-7 * max(abs(d$v))) break
    }
    # of those that iterate, what is settled counts, not what is highest: that is no likelihood of one model
    if (!is.null(m) && (is.null(best) || (is.null(s$var) && logLik(m) > logLik(best)))) { best <- m; settled <- moved }
  }
  if (is.null(best)) return(NULL)
  m <- best; beta <- if (lme) fixef(m) else coef(m); cov <- if (lme) m$varFix else m$varBeta
  if (!lme && method == "ML") cov <- cov * (nrow(d) - length(beta)) / nrow(d)
  nice <- sub("(Intercept)", "Intercept", names(beta), fixed = TRUE)
  nice <- gsub("Diet([0-9])", "Diet[T.\\1]", gsub("SexMale", "Sex[T.Male]", nice))
  list(id = paste0(s[[1]], "_", tolower(method)), dataset = s[[2]], fixed = deparse1(s[[4]]), random = s$ours, residual = s[[5]],
    engine = if (lme) "nlme::lme" else "nlme::gls", method = tolower(method), loglik = as.numeric(logLik(m)), sigma = m$sigma,
    estimate = as.list(setNames(as.numeric(beta), nice)), se = as.list(setNames(as.numeric(sqrt(diag(cov))), nice)),
    variance = if (!is.null(s$var)) as.numeric(coef(m$modelStruct$varStruct, unconstrained = FALSE)),
    correlation = if (!is.null(s$cor)) as.list(coef(m$modelStruct$corStruct, unconstrained = FALSE)))
}
models <- Filter(Negate(is.null), unlist(lapply(specs, function(s) lapply(c("REML", "ML"), function(m) run(s, m))), recursive = FALSE))
write_json(list(provenance = list(R = R.version.string, packages = list(nlme = as.character(packageVersion("nlme"))), script = "scripts/33_fitted_and_nugget_nlme.R",
  how = "se is the plain (X'V^-1 X)^-1; correlation is that per unit of time (corCAR1), or range and nugget (corExp)"), models = models),
  "tests/reference/residual/nlme_fitted_and_nugget.json", auto_unbox = TRUE, digits = 15, pretty = TRUE)
