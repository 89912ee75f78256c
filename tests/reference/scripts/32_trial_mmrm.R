# Reference values of residual covariances: R's mmrm on sim_trial, with degrees of freedom and marginal means.
#   Rscript tests/reference/scripts/32_trial_mmrm.R      from the root of a clone
suppressPackageStartupMessages({ library(mmrm); library(emmeans); library(jsonlite) })
options(contrasts = c("contr.treatment", "contr.treatment"), digits = 15, warn = 1)
d <- read.csv("tests/reference/data/sim_trial.csv", stringsAsFactors = FALSE)
d$arm <- factor(d$arm, levels = c("placebo", "active")); d$visit <- factor(d$visit); d$id <- factor(d$id)
d$w <- 1 + (d$number %% 3) / 2  # weights: 1.5, 2, 1, 1.5, 2 by visit

# our name, our residual, mmrm's term
specs <- list(
  c("us", "us(visit | id)", "us(visit | id)"), c("homcs", "homcs(visit | id)", "cs(visit | id)"), c("cs", "cs(visit | id)", "csh(visit | id)"),
  c("ar1", "ar1(number | id)", "ar1(visit | id)"), c("hetar1", "hetar1(number | id)", "ar1h(visit | id)"),
  c("homtoep", "homtoep(visit | id)", "toep(visit | id)"), c("toep", "toep(visit | id)", "toeph(visit | id)"),
  c("homad", "homad(visit | id)", "ad(visit | id)"), c("ad", "ad(visit | id)", "adh(visit | id)"),
  c("car1", "car1(week | id)", "sp_exp(week | id)"))
nice <- function(n) { n[n == "(Intercept)"] <- "Intercept"; n <- gsub("visit(V[0-9])", "visit[T.\\1]", n); gsub("armactive", "arm[T.active]", n) }
named <- function(x, n) as.list(setNames(as.numeric(x), n))

run <- function(s, reml, weighted = FALSE, by = NULL) {
  term <- if (is.null(by)) s[3] else sub("\\| id", "| arm / id", s[3])
  f <- as.formula(paste("y ~ base + arm * visit +", term))
  args <- list(f, data = d, reml = reml); if (weighted) args$weights <- d$w
  m <- suppressWarnings(do.call(mmrm, args))
  co <- summary(m)$coefficients; n <- nice(rownames(co))
  V <- component(m, "varcor")
  out <- list(id = paste0(s[1], if (weighted) "_weighted", if (!is.null(by)) paste0("_by_", by), if (reml) "_reml" else "_ml"), fixed = "base + arm * visit", residual = s[2], by = by, weights = if (weighted) "w",
    engine = "mmrm", term_r = term, method = if (reml) "reml" else "ml", n_obs = nrow(d), deviance = as.numeric(deviance(m)), loglik = as.numeric(logLik(m)), aic = AIC(m), n_theta = length(component(m, "theta_est")),
    estimate = named(co[, "Estimate"], n), se = named(co[, "Std. Error"], n), satterthwaite = named(co[, "df"], n),
    covariance = if (is.list(V)) lapply(V, unname) else if (s[1] != "car1") unname(V))
  e <- as.data.frame(emmeans(m, ~ arm | visit))
  out$means <- list(arm = as.character(e$arm), visit = as.character(e$visit), estimate = e$emmean, se = e$SE, df = e$df)
  p <- as.data.frame(pairs(emmeans(m, ~ arm | visit), reverse = TRUE))
  out$arms <- list(visit = as.character(p$visit), estimate = p$estimate, se = p$SE, df = p$df)
  if (reml && !weighted) {
    args <- list(f, data = d, method = "Kenward-Roger", vcov = "Kenward-Roger-Linear")
    k <- suppressWarnings(do.call(mmrm, args)); ck <- summary(k)$coefficients
    out$kenward_roger_linear <- list(se = named(ck[, "Std. Error"], n), df = named(ck[, "df"], n), note = "observed information; without second derivatives of the covariance")
    C <- matrix(0, 4, length(n)); C[cbind(1:4, grep(":", n))] <- 1
    j <- df_md(k, C); out$kenward_roger_linear$interaction <- list(F = j$f_stat, num_df = j$num_df, den_df = j$denom_df)
  }
  cat(sprintf("%-26s %.8f\n", out$id, out$deviance)); Filter(Negate(is.null), out)
}
models <- c(unlist(lapply(specs, function(s) lapply(c(TRUE, FALSE), function(reml) run(s, reml))), recursive = FALSE),
  list(run(specs[[1]], TRUE, weighted = TRUE), run(specs[[4]], TRUE, weighted = TRUE), run(specs[[1]], TRUE, by = "arm"), run(specs[[4]], TRUE, by = "arm")))
out <- list(dataset = "sim_trial", provenance = list(R = R.version.string, packages = list(mmrm = as.character(packageVersion("mmrm")), TMB = as.character(packageVersion("TMB")), emmeans = as.character(packageVersion("emmeans"))),
  script = "scripts/32_trial_mmrm.R", how = "mmrm::mmrm with the observed information, as it does; w = 1 + (number %% 3) / 2"), models = models)
writeLines(toJSON(out, auto_unbox = TRUE, digits = NA, null = "null", na = "null", pretty = 1), "tests/reference/residual/mmrm_sim_trial.json")
