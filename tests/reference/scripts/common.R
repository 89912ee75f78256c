# Helpers shared by the reference scripts.  Run everything from the directory
# that contains scripts/ and golden/.
suppressPackageStartupMessages({
  library(lme4); library(lmerTest); library(pbkrtest); library(numDeriv); library(jsonlite); library(nlme) })
options(contrasts = c("contr.treatment", "contr.treatment"), digits = 15, warn = 1)
RNGversion("4.2.0")
arr <- function(x) if (is.null(x)) NULL else I(unname(x))
num <- function(x) as.numeric(x)
fin <- function(x) { x <- as.numeric(x); x[!is.finite(x)] <- NA; x }
mat <- function(m) { m <- as.matrix(m); dimnames(m) <- NULL; storage.mode(m) <- "double"; m }
`%||%` <- function(a, b) if (is.null(a)) b else a

.schema <- new.env()
rd <- function(name, tree = "golden") {
  if (is.null(.schema[[tree]])) .schema[[tree]] <- fromJSON(file.path(tree, "data", "schema.json"), simplifyVector = FALSE)
  s <- .schema[[tree]][[name]]
  d <- read.csv(file.path(tree, "data", s$file), stringsAsFactors = FALSE, check.names = FALSE,
                na.strings = "", colClasses = vapply(s$columns, function(c) if (c$type == "factor") "character" else "numeric", ""))
  for (v in names(s$columns)) if (s$columns[[v]]$type == "factor") {
    l <- unlist(s$columns[[v]]$levels)
    if (is.null(l)) { l <- unique(d[[v]]); l <- l[!is.na(l)]; z <- suppressWarnings(as.numeric(l)); l <- if (anyNA(z)) sort(l, method = "radix") else l[order(z)] }
    d[[v]] <- factor(d[[v]], levels = l)
  }
  stopifnot(nrow(d) == s$rows)
  attr(d, "file") <- file.path("data", s$file)
  d
}

provenance <- function(script, pk = c("lme4", "lmerTest", "pbkrtest", "nlme", "Matrix", "numDeriv", "minqa", "nloptr")) {
  list(R = R.version.string, platform = R.version$platform, blas = "reference BLAS/LAPACK 3.11.0 (Debian 12)",
       packages = as.list(setNames(vapply(pk, function(p) as.character(packageVersion(p)), ""), pk)),
       script = script, contrasts = "treatment, first level of schema.json is the reference",
       how = paste("lme4::lmer fitted with bobyqa, NLopt-bobyqa and nlminb from the default start;",
         "the best theta is then refined by Newton steps on the (restricted) deviance (numDeriv gradient and Hessian, parameters at a bound held there)",
         "and the model is rebuilt at that theta with optimizer=NULL. All numbers are printed with 15 significant digits."))
}

## ---------- neutral names: (Intercept) -> Intercept, fB -> f[T.B] (reduced) or f[B] (full dummy), ^ -> **
neutral_names <- function(nm, frame) {
  fac <- names(frame)[vapply(frame, function(v) is.factor(v) || is.character(v), NA)]
  xl <- lapply(setNames(fac, fac), function(v) levels(factor(frame[[v]])))
  for (v in fac) if (is.factor(frame[[v]])) xl[[v]] <- levels(frame[[v]])
  parts <- strsplit(nm, ":", fixed = TRUE)
  comp <- lapply(parts, function(p) lapply(p, function(q) {
    for (v in fac) for (l in xl[[v]]) if (q == paste0(v, l)) return(list(v = v, l = l, base = l == xl[[v]][1]))
    list(raw = q) }))
  key <- vapply(comp, function(cc) paste(vapply(cc, function(z) z$v %||% z$raw, ""), collapse = ":"), "")
  vapply(seq_along(nm), function(i) {
    same <- which(key == key[i])
    s <- vapply(seq_along(comp[[i]]), function(j) { z <- comp[[i]][[j]]
      if (!is.null(z$raw)) { if (z$raw == "(Intercept)") return("Intercept"); return(gsub("^", "**", z$raw, fixed = TRUE)) }
      full <- any(vapply(same, function(k) isTRUE(comp[[k]][[j]]$base), NA))
      v <- sub("^factor\\(", "C(", z$v)
      if (full) sprintf("%s[%s]", v, z$l) else sprintf("%s[T.%s]", v, z$l) }, "")
    paste(s, collapse = ":") }, "")
}

## ---------- Newton refinement of theta
polish <- function(dd, th, lower, maxit = 8) {
  f <- function(free, act) { t <- th; t[act] <- 0; t[!act] <- free; dd(t) }
  newton <- function(act, p) {
    tr <- list(par = p, val = f(p, act), grad = NA_real_)
    if (!length(p)) { tr$grad <- 0; return(tr) }
    ok <- FALSE
    for (it in seq_len(maxit)) {
      ma <- list(d = 0.01, eps = 1e-3, r = 4)
      g <- grad(f, tr$par, act = act, method.args = ma)
      H <- hessian(f, tr$par, act = act, method.args = list(d = 0.02, eps = 1e-3, r = 4))
      ev <- eigen(H, symmetric = TRUE)
      if (min(ev$values) < 1e-8 * max(abs(ev$values))) H <- ev$vectors %*% diag(pmax(abs(ev$values), 1e-6 * max(abs(ev$values))), length(ev$values)) %*% t(ev$vectors)
      st <- -solve(H, g); sc <- 1
      repeat { pn <- tr$par + sc * st; fn <- if (all(pn[lower[!act] == 0] >= 0)) f(pn, act) else Inf
        if (is.finite(fn) && fn <= tr$val + 1e-10 * abs(tr$val)) break; sc <- sc / 2; if (sc < 1e-6) break }
      if (sc < 1e-6) break
      tr$par <- pn; tr$val <- fn; tr$grad <- max(abs(g)); if (sc == 1 && max(abs(st)) < 1e-10) break
      if (sc == 1 && max(abs(st)) < 1e-7) { if (ok) break; ok <- TRUE }
    }
    tr$grad <- max(abs(grad(f, tr$par, act = act, method.args = list(d = 0.01, eps = 1e-3, r = 4))))
    tr
  }
  v0 <- dd(th)
  act <- lower == 0 & th < 1e-3
  if (any(act)) { r <- newton(act, th[!act])
    if (r$val > v0 + 1e-9 * abs(v0)) { act <- rep(FALSE, length(th)); r <- newton(act, th) }
  } else r <- newton(act, th)
  out <- th; out[act] <- 0; out[!act] <- r$par
  list(theta = out, value = dd(out), value_before = v0, grad_max = r$grad, active = act)
}

.opts <- list(
  bobyqa = lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 100000, rhoend = 1e-9), calc.derivs = FALSE, check.conv.singular = "ignore", check.rankX = "silent.drop.cols"),
  nlopt_bobyqa = lmerControl(optimizer = "nloptwrap", optCtrl = list(algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-11, xtol_rel = 1e-11, ftol_abs = 1e-11, ftol_rel = 1e-14, maxeval = 100000), calc.derivs = FALSE, check.conv.singular = "ignore", check.rankX = "silent.drop.cols"),
  nlminb = lmerControl(optimizer = "nlminbwrap", optCtrl = list(rel.tol = 1e-14, x.tol = 1e-12, iter.max = 5000, eval.max = 10000), calc.derivs = FALSE, check.conv.singular = "ignore", check.rankX = "silent.drop.cols"))
.opts <- lapply(.opts, function(o) { o$checkControl$check.nobs.vs.nRE <- "ignore"; o$checkControl$check.nobs.vs.nlev <- "ignore"; o$checkControl$check.nlev.gtr.1 <- "ignore"; o$checkControl$check.scaleX <- "ignore"; o$checkControl$check.conv.grad <- "ignore"; o })
.ctl0 <- lmerControl(optimizer = NULL, calc.derivs = FALSE, check.conv.singular = "ignore", check.rankX = "silent.drop.cols", check.nobs.vs.nRE = "ignore", check.nobs.vs.nlev = "ignore", check.nlev.gtr.1 = "ignore", check.scaleX = "ignore", check.conv.grad = "ignore")

## spec: formula (string), REML, weights (column name or NULL)
fit_lmer <- function(spec, d, big = FALSE) {
  assign("d", d, globalenv())
  fo <- as.formula(spec$formula, env = globalenv())
  mk <- function(fun, ctl, extra = "") eval(parse(text = sprintf("%s(%s, data=d, REML=%s%s, control=ctl%s)", fun, spec$formula, spec$reml, if (is.null(spec$weights)) "" else paste0(", weights=", spec$weights), extra)), list(ctl = ctl), globalenv())
  t0 <- proc.time()[3]
  fits <- list(); tm <- c()
  for (o in names(.opts)[if (big) 1:2 else 1:3]) {
    tt <- system.time(fits[[o]] <- suppressMessages(suppressWarnings(tryCatch(mk("lme4::lmer", .opts[[o]]), error = function(e) NULL))))[3]
    tm[o] <- tt }
  fits <- Filter(Negate(is.null), fits)
  val <- vapply(fits, function(m) unname(-2 * as.numeric(logLik(m))), 0)
  best <- fits[[which.min(val)]]
  dd <- suppressMessages(mk("lme4::lmer", .ctl0, ", devFunOnly=TRUE"))
  lower <- getME(best, "lower")
  pol <- polish(dd, getME(best, "theta"), lower)
  assign(".th", pol$theta, globalenv()); assign(".ctl0", .ctl0, globalenv())
  fun <- if (big || isFALSE(spec$satt)) "lme4::lmer" else "lmerTest::lmer"
  m <- suppressMessages(suppressWarnings(eval(parse(text = sprintf("%s(%s, data=d, REML=%s%s, start=.th, control=.ctl0)", fun, spec$formula, spec$reml, if (is.null(spec$weights)) "" else paste0(", weights=", spec$weights))), globalenv())))
  stopifnot(max(abs(getME(m, "theta") - pol$theta)) < 1e-14)
  list(m = m, opt = list(criterion = as.list(val), criterion_refined = pol$value,
       max_abs_logLik_difference = max(abs(val - pol$value)) / 2, refined_max_abs_gradient = pol$grad_max,
       theta_at_bound = arr(which(pol$active) - 1L), seconds = as.list(round(tm, 3))))
}

re_terms <- function(m) {
  cn <- m@cnms; fl <- m@flist; asg <- attr(fl, "assign"); Gp <- getME(m, "Gp"); b <- as.numeric(getME(m, "b"))
  vc <- VarCorr(m)
  lapply(seq_along(cn), function(i) list(group = names(fl)[asg[i]], names = cn[[i]], levels = levels(fl[[asg[i]]]),
    index = as.integer(fl[[asg[i]]]), seg = (Gp[i] + 1):Gp[i + 1], b = matrix(b[(Gp[i] + 1):Gp[i + 1]], ncol = length(cn[[i]]), byrow = TRUE), vc = vc[[i]]))
}
cond_sd <- function(m) {
  Lt <- getME(m, "Lambdat"); q <- ncol(Lt); if (q > 6000) return(NULL)
  X <- solve(getME(m, "L"), as(Lt, "dgCMatrix"), system = "A"); sigma(m) * sqrt(pmax(colSums(as.matrix(Lt * X)), 0))
}

kr_table <- function(m) {
  p <- length(fixef(m)); L <- diag(p); cs <- as.data.frame(coef(summary(m, ddf = "Kenward-Roger")))
  list(df = arr(num(cs$df)), se_adjusted = arr(num(cs[["Std. Error"]])), t = arr(num(cs[["t value"]])), p_value = arr(num(cs[["Pr(>|t|)"]])), vcov_adjusted = mat(vcovAdj(m)))
}
aov_table <- function(m, type, ddf) { a <- as.data.frame(anova(m, type = type, ddf = ddf)); if (!nrow(a)) return(NULL)
  list(type = type, ddf = ddf, terms = arr(rownames(a)), sum_sq = arr(num(a[["Sum Sq"]])), mean_sq = arr(num(a[["Mean Sq"]])), num_df = arr(num(a$NumDF)), den_df = arr(num(a$DenDF)), F = arr(num(a[["F value"]])), p_value = arr(num(a[["Pr(>F)"]]))) }

extract_lmer <- function(spec, d, fm, big = FALSE) {
  m <- fm$m; n <- nobs(m); fr <- model.frame(m)
  rownm <- names(fixef(m)); X <- getME(m, "X"); dropped <- names(attr(X, "col.dropped"))
  V <- as.matrix(vcov(m)); rt <- re_terms(m); csd <- cond_sd(m)
  crit <- -2 * as.numeric(logLik(m))
  out <- list(id = spec$id, description = spec$desc %||% "", engine = "lme4::lmer", formula = spec$formula, reml = spec$reml,
    weights = spec$weights, rows_used = if (is.null(spec$keep)) "all" else spec$keep,
    r_code = sprintf("lmer(%s, data = d%s, REML = %s)", paste0(spec$formula, if (is.null(spec$weights)) "" else paste0(", weights = ", spec$weights)), if (is.null(spec$keep)) "" else sprintf("[%s, ]", spec$keep), spec$reml),
    n_obs = n, n_fixed = length(rownm), n_theta = length(getME(m, "theta")),
    criterion_name = if (spec$reml) "REML criterion (-2 log restricted likelihood)" else "deviance (-2 log likelihood)",
    criterion = crit, loglik = as.numeric(logLik(m)), df_model = attr(logLik(m), "df"), aic = AIC(m), bic = BIC(m),
    fixef = if (length(rownm)) list(names_r = arr(rownm), names = arr(neutral_names(rownm, fr)), estimate = arr(num(fixef(m))), se = arr(sqrt(diag(V))), vcov = mat(V)) else list(names = arr(character()), estimate = arr(numeric())),
    dropped_columns = if (length(dropped)) arr(dropped) else NULL,
    sigma = sigma(m), theta = arr(num(getME(m, "theta"))), singular = isSingular(m, tol = 1e-4),
    random = lapply(rt, function(r) { cv <- matrix(as.numeric(r$vc), length(r$names)); s <- sqrt(diag(cv)); co <- cv / outer(s, s)
      list(group = r$group, n_levels = length(r$levels), names_r = arr(r$names), names = arr(neutral_names(r$names, fr)), sd = arr(s), variance = arr(s^2), cov = cv,
           corr = if (length(s) > 1) lapply(seq_len(nrow(co)), function(k) arr(ifelse(is.finite(co[k, ]), co[k, ], NA))) else NULL) }),
    ranef = lapply(rt, function(r) { k <- if (big || length(r$levels) > 60) seq_len(min(20, length(r$levels))) else seq_along(r$levels)
      cs <- if (is.null(csd)) NULL else matrix(csd[r$seg], ncol = length(r$names), byrow = TRUE)
      list(group = r$group, names = arr(neutral_names(r$names, fr)), truncated = length(k) < length(r$levels), levels = arr(r$levels[k]),
           first_row = arr(match(k, r$index) - 1L), values = r$b[k, , drop = FALSE], cond_sd = if (is.null(cs)) NULL else cs[k, , drop = FALSE],
           sum = arr(colSums(r$b)), sum_of_squares = arr(colSums(r$b^2)), cond_sd_sum_of_squares = if (is.null(cs)) NULL else arr(colSums(cs^2))) }),
    fitted_head = arr(num(head(fitted(m), 10))), residual_head = arr(num(head(residuals(m), 10))),
    fitted_sum = sum(fitted(m)), fitted_sum_of_squares = sum(fitted(m)^2), residual_sum_of_squares = sum(residuals(m)^2))
  lt <- inherits(m, "lmerModLmerTest")
  if (lt && length(rownm)) {
    cs <- as.data.frame(coef(summary(m, ddf = "Satterthwaite")))
    out$satterthwaite <- list(df = arr(num(cs$df)), t = arr(num(cs[["t value"]])), p_value = arr(num(cs[["Pr(>|t|)"]])))
    if (length(out$theta) <= 12) { out$satterthwaite$vcov_theta_sigma <- mat(m@vcov_varpar); out$satterthwaite$note <- "vcov_theta_sigma: lmerTest's asymptotic covariance of (theta, sigma), 2 * inverse Hessian of the criterion" }
    if (isSingular(m, tol = 1e-4)) out$satterthwaite$unreliable <- "singular fit: numerical derivatives at a boundary, do not compare"
    if (isTRUE(spec$anova)) out$anova <- list(aov_table(m, "III", "Satterthwaite"), aov_table(m, "II", "Satterthwaite"), aov_table(m, "I", "Satterthwaite"))
    if (isTRUE(spec$kr)) { stopifnot(spec$reml, is.null(spec$weights)); out$kenward_roger <- kr_table(m); if (isSingular(m, tol = 1e-4)) out$kenward_roger$unreliable <- "singular fit, do not compare"
      if (isTRUE(spec$anova)) out$anova <- c(out$anova, list(aov_table(m, "III", "Kenward-Roger"))) }
  }
  if (length(rownm)) { z <- qnorm(.975) * sqrt(diag(V)); out$ci_wald_95 <- list(lower = arr(num(fixef(m)) - z), upper = arr(num(fixef(m)) + z)) }
  if (isTRUE(spec$hat)) { h <- hatvalues(m); out$hat <- list(head = arr(num(head(h, 10))), sum = sum(h)) }
  if (!is.null(spec$newdata)) {
    nd <- spec$newdata; pr <- lapply(names(nd), function(v) { x <- nd[[v]]; if (is.factor(d[[v]])) factor(as.character(x), levels = union(levels(d[[v]]), unique(as.character(x)))) else x }); names(pr) <- names(nd); ndf <- as.data.frame(pr)
    out$predict <- list(newdata = lapply(seq_len(nrow(nd)), function(i) lapply(nd[i, , drop = FALSE], function(z) if (is.factor(z)) as.character(z) else z)),
      with_random = arr(num(predict(m, ndf, re.form = NULL, allow.new.levels = TRUE))), fixed_only = arr(num(predict(m, ndf, re.form = NA))),
      note = "levels of a grouping factor not in the data get random effect 0")
    if (!is.null(spec$reform)) { out$predict$partial_re_form <- spec$reform; out$predict$partial <- arr(num(predict(m, ndf, re.form = as.formula(spec$reform), allow.new.levels = TRUE))) }
  }
  if (isTRUE(spec$r2) && !isSingular(m)) { r2 <- tryCatch(suppressWarnings(performance::r2_nakagawa(m)), error = function(e) NULL); ic <- tryCatch(suppressWarnings(performance::icc(m)), error = function(e) NULL)
    if (!is.null(r2)) out$performance <- list(r2_marginal = unname(num(r2$R2_marginal)), r2_conditional = unname(num(r2$R2_conditional)), icc_adjusted = num(ic$ICC_adjusted), icc_unadjusted = num(ic$ICC_unadjusted %||% ic$ICC_conditional)) }
  out$optimisers <- fm$opt
  out$note <- spec$note
  out
}

## ---------- profile confidence intervals
profile_ci <- function(spec, d, fm) {
  assign("d", d, globalenv())
  mk <- function(reml) suppressMessages(eval(parse(text = sprintf("lme4::lmer(%s, data=d, REML=%s%s, control=.opts$bobyqa)", spec$formula, reml, if (is.null(spec$weights)) "" else paste0(", weights=", spec$weights))), globalenv()))
  ml <- mk(FALSE); ci <- suppressWarnings(suppressMessages(confint(ml, method = "profile", oldNames = FALSE, quiet = TRUE)))
  ex <- tryCatch(profile_exact(ml), error = function(e) { message("exact profile failed: ", conditionMessage(e)); NULL })
  list(method = "lme4 confint(method='profile'), always on the ML fit (a REML fit is refitted by ML first)", level = .95,
       parameters = arr(rownames(ci)), lower = arr(fin(ci[, 1])), upper = arr(fin(ci[, 2])),
       note = if (any(!is.finite(ci)) || any(ci[rownames(ci) == "sigma", ] == 0)) "lme4 profile failed for some parameters here (spline problem at a singular fit): use the direct values", direct = ex)
}
profile_exact <- function(ml, level = .95) {
  # roots of  deviance(profiled over everything else) - minimum = qchisq(level, 1), parameters: RE sds and correlations, sigma, fixed effects
  q <- qchisq(level, 1)
  df2 <- lme4:::devfun2(ml, useSc = TRUE, signames = FALSE); opt0 <- attr(df2, "optimum"); nth <- length(getME(ml, "theta"))
  base <- as.numeric(-2 * logLik(ml)); nm <- names(opt0)[seq_len(nth + 1)]; est <- opt0[seq_len(nth + 1)]
  iscor <- grepl("^cor_", nm)
  ns <- length(est); lb <- ifelse(iscor, -1 + 1e-9, 0); ub <- ifelse(iscor, 1 - 1e-9, Inf); lb[ns] <- est[ns] / 20; ub[ns] <- est[ns] * 50; ub[!iscor] <- pmin(ub[!iscor], 1e3 * est[ns] + 50 * est[!iscor])
  f <- function(p) { if (any(p < lb - 1e-7 | p > ub + 1e-7) || !all(is.finite(p))) return(1e10); v <- tryCatch(df2(p), error = function(e) NA); if (is.finite(v)) v else 1e10 }
  inner <- function(j, x, start) {
    fr <- function(r) { p <- numeric(ns); p[j] <- x; p[-j] <- r; f(p) }
    o <- nlminb(start, fr, lower = lb[-j], upper = ub[-j], control = list(rel.tol = 1e-13, x.tol = 1e-10, iter.max = 2000, eval.max = 5000))
    for (k in 1:2) o <- nlminb(o$par, fr, lower = lb[-j], upper = ub[-j], control = list(rel.tol = 1e-14, x.tol = 1e-11))
    o }
  lo <- hi <- rep(NA_real_, length(est)); o0 <- nlminb(est, f, lower = lb, upper = ub, control = list(rel.tol = 1e-14)); base <- min(base, o0$objective)
  for (j in seq_along(est)) for (sd in c(-1, 1)) {
    st <- est[-j]; g <- function(x) { o <- inner(j, x, st); o$objective - base - q }
    lim <- if (iscor[j]) sd * (1 - 1e-7) else if (sd < 0) 0 else Inf
    if (j == ns) lim <- if (sd < 0) lb[ns] else ub[ns]
    step <- if (iscor[j]) .1 else est[j] * .2 + 1e-3; x0 <- est[j]; x1 <- x0
    repeat { x0 <- x1; x1 <- x1 + sd * step; if ((sd < 0 && x1 <= lim) || (sd > 0 && x1 >= lim)) { x1 <- lim; if (g(x1) < 0) { x1 <- NA; break } else break }; if (g(x1) > 0) break; step <- step * 1.5 }
    r <- if (is.na(x1)) (if (iscor[j]) sd else 0) else uniroot(g, sort(c(x0, x1)), tol = 1e-9)$root
    if (sd < 0) lo[j] <- r else hi[j] <- r
  }
  # fixed effects
  p <- length(fixef(ml)); flo <- fhi <- numeric(p)
  X <- getME(ml, "X"); y <- getME(ml, "y"); Zt <- getME(ml, "Zt"); Lt <- getME(ml, "Lambdat"); Lind <- getME(ml, "Lind"); n <- length(y)
  W <- ml@resp$weights; off <- ml@resp$offset; y <- (y - off)
  pd <- function(th, y, X) { L <- Lt; L@x <- th[Lind]; A <- L %*% Zt; M <- tcrossprod(A %*% Matrix::Diagonal(x = sqrt(W))); Ch <- Matrix::Cholesky(Matrix::forceSymmetric(M), LDL = FALSE, Imult = 1)
    cu <- solve(Ch, solve(Ch, A %*% (W * y), system = "P"), system = "L"); ld <- 2 * as.numeric(determinant(Ch)$modulus)
    if (is.null(X) || ncol(X) == 0) rss <- sum(W * y^2) - sum(cu^2) else {
      RZX <- solve(Ch, solve(Ch, A %*% (W * X), system = "P"), system = "L"); XtX <- crossprod(X, W * X) - crossprod(as.matrix(RZX)); Xty <- crossprod(X, W * y) - crossprod(as.matrix(RZX), as.numeric(cu))
      be <- solve(XtX, Xty); rss <- sum(W * y^2) - sum(cu^2) - sum(be * Xty) }
    ld - sum(log(W)) + n * (1 + log(2 * pi * rss / n)) }
  th0 <- getME(ml, "theta"); lw <- getME(ml, "lower")
  chk <- pd(th0, y, X) - as.numeric(-2 * logLik(ml)); stopifnot(abs(chk) < 1e-6)
  se <- sqrt(diag(as.matrix(vcov(ml))))
  for (j in seq_len(p)) for (sd in c(-1, 1)) {
    g <- function(b) { yy <- y - X[, j] * b; Xj <- X[, -j, drop = FALSE]; o <- nlminb(th0, function(t) pd(t, yy, Xj), lower = lw, control = list(rel.tol = 1e-14, x.tol = 1e-11)); o <- nlminb(o$par, function(t) pd(t, yy, Xj), lower = lw, control = list(rel.tol = 1e-14)); o$objective - base - q }
    x0 <- fixef(ml)[j]; k <- 2; while (g(x0 + sd * k * se[j]) < 0) k <- k * 1.5
    r <- uniroot(g, sort(c(x0, x0 + sd * k * se[j])), tol = 1e-8 * max(se[j], 1e-3))$root
    if (sd < 0) flo[j] <- r else fhi[j] <- r
  }
  list(method = "direct root of the profiled deviance (ML), no interpolation; 0 or +-1 = the bound itself lies inside the interval",
       parameters = arr(c(nm, names(fixef(ml)))), lower = arr(num(c(lo, flo))), upper = arr(num(c(hi, fhi))))
}

lrt <- function(id, m0, m1, ids) { # both ML
  a <- as.data.frame(anova(m0, m1, refit = FALSE))
  list(id = id, smaller = ids[1], larger = ids[2], method = "anova(ML fits)", chisq = a$Chisq[2], df = a$Df[2], p_value = a[["Pr(>Chisq)"]][2])
}

em_table <- function(m, spec, ddf) { suppressPackageStartupMessages(library(emmeans))
  e <- suppressMessages(emmeans(m, as.formula(paste("~", spec)), lmer.df = ddf)); s <- as.data.frame(summary(e)); fac <- setdiff(names(s), c("emmean", "SE", "df", "lower.CL", "upper.CL", "asymp.LCL", "asymp.UCL"))
  pw <- as.data.frame(summary(pairs(e, reverse = FALSE), infer = c(TRUE, TRUE))); 
  list(spec = spec, ddf = ddf, means = list(levels = lapply(seq_len(nrow(s)), function(i) lapply(s[i, fac, drop = FALSE], as.character)), estimate = arr(s$emmean), se = arr(s$SE), df = arr(s$df), lower = arr(s[[ncol(s) - 1]]), upper = arr(s[[ncol(s)]])),
    pairs = list(contrast = arr(as.character(pw$contrast)), estimate = arr(pw$estimate), se = arr(pw$SE), df = arr(pw$df), t = arr(pw[[grep("ratio", names(pw))]]), p_value_tukey = arr(pw$p.value))) }

write_ref <- function(obj, file) { writeLines(toJSON(obj, auto_unbox = TRUE, digits = NA, null = "null", na = "null", pretty = 1), file); cat("wrote", file, file.size(file), "bytes\n") }

## run one data set: specs (list of spec), optional comparisons (list of c(id0, id1)), optional emmeans
run_dataset <- function(name, specs, tree_out, data_tree = "golden", lrts = list(), script, data = NULL, file_id = name, extra = NULL) {
  d0 <- data %||% rd(name, data_tree); res <- list(); ms <- list()
  for (s in specs) {
    cat(sprintf("  %-40s", s$id)); t0 <- proc.time()[3]
    d <- if (is.null(s$keep)) d0 else droplevels(d0[eval(parse(text = s$keep), d0), , drop = FALSE])
    attr(d, "file") <- NULL
    fm <- fit_lmer(s, d, big = isTRUE(s$big))
    r <- extract_lmer(s, d, fm, big = isTRUE(s$big))
    if (!is.null(s$keep)) r$row_index <- arr(which(eval(parse(text = s$keep), d0)) - 1L)
    if (isTRUE(s$profile)) r$ci_profile_95 <- profile_ci(s, d, fm)
    if (!is.null(s$emm)) r$emmeans <- unlist(lapply(s$emm, function(e) list(em_table(fm$m, e, "satterthwaite"), if (isTRUE(s$kr)) em_table(fm$m, e, "kenward-roger"))), recursive = FALSE)
    ms[[s$id]] <- fm$m; res[[length(res) + 1]] <- r
    cat(sprintf("crit %.8f  optdiff %.1e grad %.1e sing %s  %.1fs\n", r$criterion, r$optimisers$max_abs_logLik_difference, r$optimisers$refined_max_abs_gradient, r$singular, proc.time()[3] - t0))
  }
  cmp <- lapply(lrts, function(p) lrt(paste0(p[1], "__vs__", p[2]), ms[[p[1]]], ms[[p[2]]], p))
  obj <- list(dataset = name, data_file = attr(d0, "file"), data_tree = if (data_tree == tree_out) NULL else paste0(data_tree, "/data"), provenance = provenance(script), models = res, comparisons = cmp)
  if (!is.null(extra)) obj <- c(obj, extra)
  write_ref(obj, file.path(tree_out, "reference", paste0(file_id, ".json")))
  invisible(ms)
}
