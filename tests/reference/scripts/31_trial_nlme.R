# Reference values of residual covariances: nlme::gls and nlme::lme on sim_trial.
#   Rscript tests/reference/scripts/31_trial_nlme.R      from the root of a clone
suppressPackageStartupMessages({ library(nlme); library(jsonlite) })
options(contrasts = c("contr.treatment", "contr.treatment"), digits = 15, warn = 1)
d <- read.csv("tests/reference/data/sim_trial.csv", stringsAsFactors = FALSE)
d$arm <- factor(d$arm, levels = c("placebo", "active")); d$visit <- factor(d$visit); d$id <- factor(d$id)
visits <- levels(d$visit)
FIXED <- y ~ base + arm * visit

# id, our residual, our random terms, correlation, weights, random
specs <- list(
  list("us", "us(visit | id)", cor = quote(corSymm(form = ~ number | id)), var = quote(varIdent(form = ~ 1 | visit))),
  list("cs", "homcs(visit | id)", cor = quote(corCompSymm(form = ~ 1 | id))),
  list("hetcs", "cs(visit | id)", cor = quote(corCompSymm(form = ~ 1 | id)), var = quote(varIdent(form = ~ 1 | visit))),
  list("ar1", "ar1(number | id)", cor = quote(corAR1(form = ~ number | id))),
  list("hetar1", "hetar1(number | id)", cor = quote(corAR1(form = ~ number | id)), var = quote(varIdent(form = ~ 1 | visit))),
  list("car1", "car1(week | id)", cor = quote(corCAR1(form = ~ week | id))),
  list("het", "het(arm)", var = quote(varIdent(form = ~ 1 | arm))),
  list("het_visit", "het(visit)", var = quote(varIdent(form = ~ 1 | visit))),
  list("ar1_het_arm", "ar1(number | id) * het(arm)", cor = quote(corAR1(form = ~ number | id)), var = quote(varIdent(form = ~ 1 | arm))),
  list("us_het_arm", "us(visit | id) * het(arm)", cor = quote(corSymm(form = ~ number | id)), var = quote(varComb(varIdent(form = ~ 1 | visit), varIdent(form = ~ 1 | arm)))),
  list("power", "power(week)", var = quote(varPower(form = ~ week))),
  list("exponential", "exponential(week)", var = quote(varExp(form = ~ week))),
  list("car1_power", "car1(week | id) * power(week)", cor = quote(corCAR1(form = ~ week | id)), var = quote(varPower(form = ~ week))),
  list("intercept_ar1", "ar1(number | id)", random = ~ 1 | id, ours = "(1 | id)", cor = quote(corAR1(form = ~ number | id))),
  list("intercept_car1", "car1(week | id)", random = ~ 1 | id, ours = "(1 | id)", cor = quote(corCAR1(form = ~ week | id))),
  list("intercept_het_arm", "het(arm)", random = ~ 1 | id, ours = "(1 | id)", var = quote(varIdent(form = ~ 1 | arm))),
  list("intercept_het_visit", "het(visit)", random = ~ 1 | id, ours = "(1 | id)", var = quote(varIdent(form = ~ 1 | visit))),
  list("slope_car1", "car1(week | id)", random = list(id = pdDiag(~ week)), ours = "(week || id)", cor = quote(corCAR1(form = ~ week | id))),
  list("intercept_power", "power(week)", random = ~ 1 | id, ours = "(1 | id)", var = quote(varPower(form = ~ week))))

run <- function(s, reml) {
  best <- NULL; values <- list()
  for (o in c("nlminb", "optim")) {
    control <- if (is.null(s$random)) glsControl(maxIter = 500, msMaxIter = 3000, tolerance = 1e-11, msTol = 1e-14, opt = o, optimMethod = "BFGS")
      else lmeControl(maxIter = 500, msMaxIter = 5000, msMaxEval = 5000, niterEM = 50, tolerance = 1e-11, msTol = 1e-14, opt = o, optimMethod = "BFGS")
    args <- list(FIXED, data = d, method = if (reml) "REML" else "ML", control = control, correlation = if (!is.null(s$cor)) eval(s$cor), weights = if (!is.null(s$var)) eval(s$var))
    if (!is.null(s$random)) args$random <- s$random
    m <- suppressWarnings(tryCatch(do.call(if (is.null(s$random)) gls else lme, args), error = function(e) NULL))
    if (is.null(m)) next
    values[[o]] <- as.numeric(logLik(m))
    if (is.null(best) || logLik(m) > logLik(best)) best <- m
  }
  m <- best; structure <- m$modelStruct; lme <- !is.null(s$random)
  beta <- if (lme) fixef(m) else coef(m)
  V <- if (lme) m$varFix else m$varBeta
  # gls multiplies by N / (N - p) under ML; se here is the plain (X'V^-1 X)^-1
  if (!lme && !reml) V <- V * (nrow(d) - length(beta)) / nrow(d)
  out <- list(id = paste0(s[[1]], if (reml) "_reml" else "_ml"), fixed = "y ~ base + arm * visit", random = s$ours, residual = s[[2]],
    engine = if (lme) "nlme::lme" else "nlme::gls", correlation_r = if (!is.null(s$cor)) deparse1(s$cor), weights_r = if (!is.null(s$var)) deparse1(s$var), random_r = if (lme) deparse1(s$random),
    method = if (reml) "reml" else "ml", n_obs = nrow(d), deviance = -2 * as.numeric(logLik(m)), loglik = as.numeric(logLik(m)),
    sigma = m$sigma)
  nice <- names(beta); nice[nice == "(Intercept)"] <- "Intercept"; nice <- gsub("visit(V[0-9])", "visit[T.\\1]", nice); nice <- gsub("armactive", "arm[T.active]", nice)
  out$estimate <- as.list(setNames(as.numeric(beta), nice)); out$se <- as.list(setNames(as.numeric(sqrt(diag(V))), nice))
  if (!is.null(structure$corStruct)) {
    out$correlation <- as.list(setNames(as.numeric(coef(structure$corStruct, unconstrained = FALSE)), NULL))
    full <- names(which(table(d$id) == 5))[1]
    R <- corMatrix(structure$corStruct)[[full]]; o <- order(d$number[d$id == full])
    sorted <- d$number[d$id == full]
    out$correlation_matrix <- unname(R[o, o])  # visits 1 to 5 of a patient with all
  }
  if (!is.null(structure$varStruct)) out$variance_function <- as.list(coef(structure$varStruct, unconstrained = FALSE, allCoef = TRUE))
  if (inherits(structure$varStruct, "varComb")) out$variance_function <- lapply(structure$varStruct, function(v) as.list(coef(v, unconstrained = FALSE, allCoef = TRUE)))
  if (lme) { out$random_sd <- as.list(sqrt(diag(as.matrix(structure$reStruct[[1]]))) * m$sigma); b <- ranef(m)
    out$ranef <- list(levels = rownames(b), values = unname(as.matrix(b))) }
  out$fitted_sum_of_squares <- sum(fitted(m)^2)
  out$loglik_of_optimisers <- values
  cat(sprintf("%-26s %.8f  spread %.1e\n", out$id, out$deviance, diff(range(unlist(values)))))
  Filter(Negate(is.null), out)
}
models <- unlist(lapply(specs, function(s) lapply(c(TRUE, FALSE), function(reml) run(s, reml))), recursive = FALSE)
out <- list(dataset = "sim_trial", provenance = list(R = R.version.string, packages = list(nlme = as.character(packageVersion("nlme"))),
  script = "scripts/31_trial_nlme.R", how = "nlminb and optim(BFGS), the better log likelihood is kept; se is the plain (X'V^-1 X)^-1, without gls's factor N / (N - p) under ML"), models = models)
writeLines(toJSON(out, auto_unbox = TRUE, digits = NA, null = "null", na = "null", pretty = 1), "tests/reference/residual/nlme_sim_trial.json")
