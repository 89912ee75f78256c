# helpers for nlme reference fits
g <- function(id, code, structure, keep = NULL, note = NULL) list(id = id, code = code, structure = structure, keep = keep, note = note)
.ctl_gls <- function(o) glsControl(maxIter = 500, msMaxIter = 2000, tolerance = 1e-10, msTol = 1e-13, returnObject = TRUE, opt = o, optimMethod = "BFGS", sigma = NULL)
.ctl_lme <- function(o) lmeControl(maxIter = 500, msMaxIter = 5000, tolerance = 1e-10, msTol = 1e-13, niterEM = 50, msMaxEval = 5000, returnObject = TRUE, opt = o, optimMethod = "BFGS", msVerbose = FALSE)
fit_nlme <- function(code, d) {
  assign("d", d, globalenv()); fits <- list()
  for (o in c("nlminb", "optim")) { ctl <- if (grepl("^gls", code)) .ctl_gls(o) else .ctl_lme(o); assign(".ctl", ctl, globalenv())
    fits[[o]] <- suppressWarnings(tryCatch(eval(parse(text = sub("\\)$", ", control = .ctl)", code)), globalenv()), error = function(e) { message("   ", o, ": ", conditionMessage(e)); NULL })) }
  fits <- Filter(Negate(is.null), fits); ll <- vapply(fits, function(m) as.numeric(logLik(m)), 0)
  # restart from the best solution with the structure parameters as starting values (tightens the answer)
  list(m = fits[[which.max(ll)]], ll = ll)
}
ext_nlme <- function(s, d, f) {
  m <- f$m; isg <- inherits(m, "gls"); be <- if (isg) coef(m) else fixef(m); V <- if (isg) m$varBeta else m$varFix
  reml <- m$method == "REML"; fr <- d
  out <- list(id = s$id, description = s$structure, engine = if (isg) "nlme::gls" else "nlme::lme", r_code = s$code, rows_used = s$keep %||% "all", reml = reml,
    n_obs = nrow(d), criterion_name = if (reml) "-2 log restricted likelihood" else "-2 log likelihood", criterion = -2 * as.numeric(logLik(m)), loglik = as.numeric(logLik(m)), df_model = attr(logLik(m), "df"), aic = AIC(m), bic = BIC(m),
    fixef = list(names_r = arr(names(be)), names = arr(neutral_names(names(be), fr)), estimate = arr(num(be)), se = arr(num(sqrt(diag(V)))), vcov = mat(V)), sigma = m$sigma)
  if (isg && !reml) { n <- nrow(d); p <- length(be); k <- sqrt((n - p) / n); out$fixef$se_nlme_printed <- out$fixef$se; out$fixef$se <- arr(num(k * sqrt(diag(V)))); out$fixef$vcov <- mat(k^2 * V)
    out$note_se <- "se, vcov = plain inverse information at the ML estimates; nlme::gls itself reports se_nlme_printed = se * sqrt(N/(N-p)) for ML fits" }
  if (!isg && !reml) out$note_se <- "se = sqrt(diag(varFix)), i.e. the plain inverse information; nlme's summary(adjustSigma=TRUE) multiplies it by sqrt(N/(N-p)) for ML fits"
  ms <- m$modelStruct
  if (!is.null(ms$corStruct)) { cs <- ms$corStruct; cf <- coef(cs, unconstrained = FALSE); out$correlation <- list(class = class(cs)[1], parameters = as.list(setNames(num(cf), if (is.null(names(cf))) paste0("p", seq_along(cf)) else names(cf))))
    if (inherits(cs, "corARMA") && grepl("corAR1", s$code)) out$correlation$note <- "corAR1 with gaps in the time index (nlme stores it as corARMA(1,0)): correlation phi^|lag|, parameter = phi"
    cm <- corMatrix(cs); if (is.list(cm)) { k <- which.max(vapply(cm, nrow, 0L)); cm <- cm[[k]] }; if (nrow(cm) <= 10) out$correlation$matrix_largest_group <- mat(cm) }
  if (!is.null(ms$varStruct)) { vs <- ms$varStruct; cf <- coef(vs, unconstrained = FALSE, allCoef = TRUE)
    out$variance_function <- list(class = class(vs)[1], parameters = as.list(cf), meaning = switch(class(vs)[1], varIdent = "ratio of residual sd to sigma, per stratum", varExp = "sd = sigma*exp(parameter*covariate)", varFixed = "variance proportional to covariate", "")) ; if (class(vs)[1] == "varIdent") out$variance_function$residual_sd <- as.list(m$sigma * cf) }
  if (!isg) {
    out$random <- lapply(names(ms$reStruct), function(gn) { pm <- as.matrix(ms$reStruct[[gn]]) * m$sigma^2; list(group = gn, class = class(ms$reStruct[[gn]])[1], n_levels = nlevels(m$groups[[gn]]) %||% length(unique(m$groups[[gn]])), names_r = arr(colnames(pm)), names = arr(neutral_names(colnames(pm), fr)), sd = arr(num(sqrt(diag(pm)))), variance = arr(num(diag(pm))), cov = mat(pm)) })
    re <- ranef(m); out$ranef <- list(list(levels = arr(rownames(re)), names_r = arr(colnames(re)), values = mat(re), sum_of_squares = arr(num(colSums(as.matrix(re)^2)))))
    tt <- summary(m)$tTable; out$df_containment <- list(df = arr(num(tt[, "DF"])), note = "nlme inner-outer (containment) degrees of freedom")
    out$fitted_fixed_head <- arr(num(head(fitted(m, level = 0), 10))) }
  out$fitted_head <- arr(num(head(fitted(m), 10))); out$residual_head <- arr(num(head(residuals(m), 10))); out$fitted_sum_of_squares <- sum(fitted(m)^2); out$residual_sum_of_squares <- sum(residuals(m)^2)
  out$optimisers <- list(loglik = as.list(f$ll), max_abs_logLik_difference = if (length(f$ll) > 1) max(f$ll) - min(f$ll) else NA)
  out$note <- s$note; out
}
run_nlme <- function(name, file_id, specs, script, tree_out = "golden", data_tree = "golden") {
  only <- commandArgs(TRUE); if (length(only) && !(file_id %in% only)) return(invisible())
  cat(file_id, "\n"); d0 <- rd(name, data_tree); res <- list()
  for (s in specs) { t0 <- proc.time()[3]; d <- if (is.null(s$keep)) d0 else droplevels(d0[eval(parse(text = s$keep), d0), , drop = FALSE]); attr(d, "file") <- NULL
    f <- fit_nlme(s$code, d); r <- ext_nlme(s, d, f); if (!is.null(s$keep)) r$row_index <- arr(which(eval(parse(text = s$keep), d0)) - 1L); res[[length(res) + 1]] <- r
    cat(sprintf("  %-28s crit %.8f  optdiff %.1e  n_opt %d %.1fs\n", s$id, r$criterion, r$optimisers$max_abs_logLik_difference, length(f$ll), proc.time()[3] - t0)) }
  pv <- provenance(script, "nlme"); pv$how <- "nlme::gls / nlme::lme, tolerance 1e-10, msTol 1e-13; optimisers nlminb and optim(BFGS), the better log likelihood is kept"
  write_ref(list(dataset = name, data_file = attr(d0, "file"), data_tree = if (data_tree == tree_out) NULL else paste0(data_tree, "/data"), provenance = pv, models = res), file.path(tree_out, "reference", paste0(file_id, ".json")))
}
