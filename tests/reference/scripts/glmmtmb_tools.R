t_ <- function(id, formula, reml, structure, disp = "~1", keep = NULL, note = NULL) list(id = id, formula = formula, reml = reml, structure = structure, disp = disp, keep = keep, note = note)
run_tmb <- function(name, file_id, specs, script, tree_out = "golden", data_tree = "golden") {
  only <- commandArgs(TRUE); if (length(only) && !(file_id %in% only)) return(invisible())
  cat(file_id, "\n"); d0 <- rd(name, data_tree); res <- list()
  ctl <- list(nlminb = glmmTMBControl(optCtrl = list(iter.max = 20000, eval.max = 20000, rel.tol = 1e-15, x.tol = 1e-13), conv_check = "skip"),
              bfgs = glmmTMBControl(optimizer = optim, optArgs = list(method = "BFGS"), optCtrl = list(maxit = 20000, reltol = 1e-16), conv_check = "skip"))
  for (s in specs) { t0 <- proc.time()[3]
    d <- if (is.null(s$keep)) d0 else droplevels(d0[eval(parse(text = s$keep), d0), , drop = FALSE]); attr(d, "file") <- NULL; assign("d", d, globalenv())
    fo <- as.formula(s$formula, env = globalenv())
    fits <- lapply(ctl, function(k) suppressMessages(suppressWarnings(tryCatch(glmmTMB(fo, data = d, REML = s$reml, dispformula = as.formula(s$disp), control = k), error = function(e) { message(conditionMessage(e)); NULL }))))
    fits <- Filter(Negate(is.null), fits); ll <- vapply(fits, function(m) -m$fit$objective %||% -m$fit$value, 0); if (!is.numeric(ll)) ll <- unlist(ll)
    ll <- vapply(fits, function(m) -m$obj$fn(m$fit$par), 0)
    m <- fits[[which.max(ll)]]
    # Newton refinement with the exact gradient
    p <- m$fit$par; ob <- m$obj
    for (k in 1:6) { gr <- as.numeric(ob$gr(p)); H <- optimHess(p, ob$fn, ob$gr, control = list(ndeps = rep(1e-4, length(p)))); st <- tryCatch(solve(H, gr), error = function(e) NULL); if (is.null(st) || any(!is.finite(st)) || max(abs(st)) > .5) break; pn <- p - st; if (ob$fn(pn) <= ob$fn(p) + 1e-10) p <- pn else break; if (max(abs(st)) < 1e-11) break }
    gmax <- max(abs(ob$gr(p))); obj <- ob$fn(p)
    m2 <- m; m2$fit$par <- p; m2$fit$objective <- obj; m2$obj$env$last.par.best <- ob$env$last.par; m2$fit$parfull <- ob$env$last.par
    m2$sdr <- suppressWarnings(TMB::sdreport(ob, par.fixed = p, getJointPrecision = s$reml)); 
    vc <- VarCorr(m2)$cond; be <- fixef(m2)$cond; V <- tryCatch(as.matrix(vcov(m2)$cond), error = function(e) matrix(NA, length(be), length(be)))
    # plain GLS covariance of beta given the variance parameters
    nb <- length(be)
    Vp <- tryCatch(if (s$reml) { ob$fn(p); Hs <- ob$env$spHess(ob$env$last.par, random = TRUE); nm <- names(ob$env$last.par)[ob$env$random]; as.matrix(solve(Hs))[which(nm == "beta"), which(nm == "beta"), drop = FALSE] } else { ib <- which(names(p) == "beta"); Hb <- numDeriv::jacobian(function(z) { q <- p; q[ib] <- z; ob$gr(q)[ib] }, p[ib]); solve((Hb + t(Hb)) / 2) }, error = function(e) { message(conditionMessage(e)); matrix(NA, nb, nb) })
    fr <- model.frame(m); n <- nrow(fr); np <- length(p) + if (s$reml) length(be) else 0
    r <- list(id = s$id, description = s$structure, engine = "glmmTMB::glmmTMB", formula = s$formula, dispformula = s$disp, reml = s$reml, rows_used = s$keep %||% "all",
      r_code = sprintf("glmmTMB(%s, data = d, REML = %s, dispformula = %s)", s$formula, s$reml, s$disp), n_obs = n,
      criterion_name = if (s$reml) "-2 log restricted likelihood" else "-2 log likelihood", criterion = 2 * obj, loglik = -obj, df_model = np, aic = 2 * obj + 2 * np,
      fixef = list(names_r = arr(names(be)), names = arr(neutral_names(names(be), fr)), estimate = arr(num(be)), se = arr(num(sqrt(diag(Vp)))), vcov = mat(Vp), se_glmmTMB_printed = arr(num(sqrt(diag(V)))), note = "se, vcov: generalised least squares, variance parameters held fixed (as lme4, nlme); se_glmmTMB_printed comes from the joint Hessian of all parameters and differs slightly for unbalanced data or ML"),
      sigma = if (s$disp == "~1") sigma(m2) else NULL,
      dispersion = if (!(s$disp %in% c("~1", "~0"))) { bd <- fixef(m2)$disp; X <- model.matrix(as.formula(s$disp), d); u <- unique(X); list(note = "log of the residual VARIANCE is linear in these coefficients (glmmTMB 1.1.5)", names_r = arr(names(bd)), log_scale = arr(num(bd)), residual_sd_by_row_pattern = arr(num(exp(u %*% bd / 2)))) } else NULL,
      random = lapply(seq_along(vc), function(i) { x <- vc[[i]]; k <- min(nrow(x), 10); sdv <- num(attr(x, "stddev")); co <- attr(x, "correlation"); list(group = names(vc)[i], structure = names(m$modelInfo$reStruc$condReStruc[[i]]$blockCode), dim = nrow(x), names_r = arr(rownames(x)[1:k]), sd = arr(sdv[1:min(length(sdv), k)]), corr_head = mat(co[seq_len(min(k, nrow(co))), seq_len(min(k, ncol(co))), drop = FALSE])) }),
      internal_theta = arr(num(p[names(p) == "theta"])),
      fitted_head = arr(num(head(fitted(m2), 10))), fitted_sum_of_squares = sum(fitted(m2)^2),
      optimisers = list(loglik = as.list(ll), max_abs_logLik_difference = if (length(ll) > 1) max(ll) - min(ll) else NA, refined_max_abs_gradient = gmax), note = s$note %||% if (s$disp == "~0") "dispformula=~0: a residual variance of 1.5e-8 is kept, which makes the arithmetic noisy; trust the criterion to 1e-4 and parameters to 1e-3, and prefer the nlme::gls equivalent" else NULL)
    # natural parameters of the structured terms
    th <- num(p[names(p) == "theta"]); o <- 0
    for (i in seq_along(vc)) { rs <- m$modelInfo$reStruc$condReStruc[[i]]; q <- rs$blockNumTheta; b <- names(rs$blockCode); tt <- th[o + seq_len(q)]; o <- o + q
      r$random[[i]]$parameters <- switch(b, ar1 = list(sd = exp(tt[1]), phi = tt[2] / sqrt(1 + tt[2]^2)), ou = list(sd = exp(tt[1]), rate = exp(tt[2]), range = exp(-tt[2]), meaning = "corr = exp(-rate*|dt|)"), exp = list(sd = exp(tt[1]), range = exp(tt[2]), meaning = "corr = exp(-d/range)"), gau = list(sd = exp(tt[1]), range = exp(tt[2]), meaning = "corr = exp(-(d/range)^2)"), NULL) }
    if (!is.null(s$keep)) r$row_index <- arr(which(eval(parse(text = s$keep), d0)) - 1L)
    res[[length(res) + 1]] <- r
    cat(sprintf("  %-24s crit %.8f optdiff %.1e grad %.1e n_opt %d %.1fs\n", s$id, r$criterion, r$optimisers$max_abs_logLik_difference, gmax, length(ll), proc.time()[3] - t0)) }
  pv <- provenance(script, c("glmmTMB", "TMB")); pv$how <- "glmmTMB (Gaussian, identity link), nlminb and BFGS (BFGS often stops early from the default start; the better one is kept), then Newton steps with the exact TMB gradient. dispformula=~0 in glmmTMB keeps a residual variance of about 1.5e-8"
  write_ref(list(dataset = name, data_file = attr(d0, "file"), data_tree = if (data_tree == tree_out) NULL else paste0(data_tree, "/data"), provenance = pv, models = res), file.path(tree_out, "reference", paste0(file_id, ".json")))
}
