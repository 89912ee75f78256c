# Models with known sampling variances (residual scale fixed at 1): metafor.   Rscript scripts/13_known_variance.R
source("scripts/common.R"); suppressPackageStartupMessages(library(metafor))
SC <- "scripts/13_known_variance.R"; ctl <- list(threshold = 1e-12, maxiter = 2000, stepadj = 1)
ll <- function(m, k) list(loglik = as.numeric(logLik(m)), loglik_note = if (k) "restricted log likelihood as metafor defines it: -(k-p)/2*log(2*pi) + log|X'X|/2 - log|V|/2 - log|X'V^-1X|/2 - RSS/2 (it includes log|X'X|/2, unlike lme4/nlme)" else "log likelihood")
uni <- function(name, file, forms, V) { d <- rd(name); d$.v <- eval(parse(text = V), d); res <- list()
  for (fo in names(forms)) for (me in c("REML", "ML", "DL", "EE")) { m <- suppressWarnings(if (me == "EE") rma(as.formula(forms[[fo]]), vi = .v, data = d, method = "EE") else if (me == "DL") rma(as.formula(forms[[fo]]), vi = .v, data = d, method = me) else rma(as.formula(forms[[fo]]), vi = .v, data = d, method = me, control = ctl))
    X <- model.matrix(m); r <- c(list(id = paste0(fo, "_", tolower(me)), engine = "metafor::rma", formula = forms[[fo]], known_variance = V, method = me, n_obs = nrow(d), fixef = list(names = arr(sub("intrcpt", "Intercept", rownames(m$beta))), estimate = arr(num(m$beta)), se = arr(num(m$se)), vcov = mat(m$vb)), tau2 = m$tau2, tau = sqrt(m$tau2)), if (me %in% c("REML", "ML")) ll(m, me == "REML"))
    if (me == "REML") { r$loglik_lme4_convention <- as.numeric(logLik(m)) - as.numeric(determinant(crossprod(X))$modulus) / 2 
      bl <- blup(m); r$blup <- list(estimate = arr(num(bl$pred)), se = arr(num(bl$se)), note = "fixed part + random effect; se includes the uncertainty of the fixed effects")
      ci <- tryCatch(suppressWarnings(confint(m)), error = function(e) NULL); if (!is.null(ci)) r$tau_ci_q_profile <- list(lower = ci$random["tau", "ci.lb"], upper = ci$random["tau", "ci.ub"]) }
    if (me == "EE") { r$Q <- m$QE; r$Q_df <- m$k - m$p; r$Q_p <- m$QEp }
    res[[length(res) + 1]] <- r }
  pv <- provenance(SC, c("metafor", "metadat")); pv$how <- "metafor::rma, threshold 1e-12"
  write_ref(list(dataset = name, data_file = attr(d, "file") %||% paste0("data/", name, ".csv"), provenance = pv, models = res), file.path("golden/reference", paste0(file, ".json"))); invisible(res) }
a <- uni("eight_schools", "known_variance_eight_schools", list(mean = "y ~ 1"), "sigma^2")
b <- uni("bcg", "known_variance_bcg", list(mean = "yi ~ 1", ablat = "yi ~ ablat"), "vi")
for (r in c(a, b)) cat(r$id, r$fixef$estimate, r$fixef$se, r$tau2, r$loglik, "\n")
d <- rd("school_calendar"); res <- list()
for (me in c("REML", "ML")) for (fo in c("yi ~ 1", "yi ~ I(year - 1988)")) { m <- rma.mv(as.formula(fo), vi, random = ~ 1 | district/school, data = d, method = me, control = list(optimizer = "optim", optmethod = "Nelder-Mead", reltol = 1e-15, maxit = 5000)); m2 <- m; m <- rma.mv(as.formula(fo), vi, random = ~ 1 | district/school, data = d, method = me, control = list(optimizer = "optim", optmethod = "BFGS", reltol = 1e-15))
  X <- model.matrix(m); r <- c(list(id = paste0(if (fo == "yi ~ 1") "mean_" else "year_", tolower(me)), engine = "metafor::rma.mv", formula = fo, random = "~ 1 | district/school", known_variance = "vi", method = me, n_obs = nrow(d), fixef = list(names = arr(sub("intrcpt", "Intercept", rownames(m$beta))), estimate = arr(num(m$beta)), se = arr(num(m$se)), vcov = mat(m$vb)), sd_district = sqrt(m$sigma2[1]), sd_school_in_district = sqrt(m$sigma2[2])), ll(m, me == "REML"))
  if (me == "REML") r$loglik_lme4_convention <- as.numeric(logLik(m)) - as.numeric(determinant(crossprod(X))$modulus) / 2
  r$optimiser_difference <- abs(as.numeric(logLik(m)) - as.numeric(logLik(m2))); res[[length(res) + 1]] <- r; cat(r$id, r$fixef$estimate, r$fixef$se, m$sigma2, r$loglik, r$optimiser_difference, "\n") }
pv <- provenance(SC, c("metafor", "metadat")); pv$how <- "metafor::rma.mv, BFGS and Nelder-Mead"
write_ref(list(dataset = "school_calendar", data_file = "data/school_calendar.csv", provenance = pv, models = res), "golden/reference/known_variance_school_calendar.json")
