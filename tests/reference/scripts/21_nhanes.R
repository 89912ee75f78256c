# lme4 golden values and timings for the simulated blood-pressure table.   Rscript scripts/21_nhanes.R
source("scripts/common.R")
tree <- if (length(commandArgs(TRUE))) commandArgs(TRUE)[1] else "golden"; nm <- if (tree == "golden") "nhanes_like" else "nhanes_like_b"
d0 <- rd(nm, tree); d0$bpt <- factor(as.character(d0$bpt), levels = c("DI", "SY"))
d0$sy <- as.numeric(d0$bpt == "SY"); d0$di <- 1 - d0$sy; for (i in 1:3) d0[[paste0("di", i)]] <- as.numeric(d0$di == 1 & d0$bpi == i); d0$di123 <- d0$di1 + d0$di2 + d0$di3
fe <- "bp ~ age + female + bpt + bmi"
specs <- list(
  list(k = 2, type = "SY", formula = "bp ~ age + female + bmi + (1 | subject)", sm = "MixedLM('bp ~ age + female + bmi', groups='subject') on systolic rows"),
  list(k = 3, type = "DI", formula = "bp ~ age + female + bmi + (1 | subject)", sm = "MixedLM('bp ~ age + female + bmi', groups='subject') on diastolic rows"),
  list(k = 4, type = "DI", formula = "bp ~ age + female + bmi + bpi + (1 + bpi | subject)", sm = "MixedLM('bp ~ age + female + bmi + bpi', groups='subject', re_formula='1+bpi') on diastolic rows"),
  list(k = 5, type = NULL, formula = paste(fe, "+ (1 | subject)"), sm = "MixedLM('bp ~ age + female + C(bpt) + bmi', groups='subject')"),
  list(k = 6, type = NULL, formula = paste(fe, "+ (1 | subject) + (1 | subject:bpt)"), sm = "MixedLM(..., re_formula='1', vc_formula={'bpt': '0+C(bpt)'})"),
  list(k = 7, type = NULL, formula = paste(fe, "+ (1 | subject) + (0 + sy | subject) + (0 + di | subject)"), sm = "MixedLM(..., re_formula='1', vc_formula={'sy': '0+sy', 'di': '0+di'})"),
  list(k = 8, type = NULL, formula = paste(fe, "+ (1 | subject) + (0 + sy | subject) + (0 + di | subject) + (0 + di123 | subject:bpi)"),
       sm = "MixedLM(..., re_formula='1', vc_formula={'sy': '0+sy', 'di': '0+di', 'dye': '0+di1+di2+di3'})",
       note = "the component with common variance over the indicators di1, di2, di3 is one independent effect per subject and reading, i.e. extra residual variance for diastolic readings 1-3; written for lme4 as (0 + di123 | subject:bpi), di123 = di1+di2+di3. Equivalent: sigma^2 for SY and DI4, sigma^2 + var(di123) for DI1-3."))
ols <- function(d, id) { m <- lm(bp ~ age + female + bpt + bmi, d); s <- summary(m)
  list(id = id, engine = "stats::lm", formula = fe, n_obs = nrow(d), fixef = list(names = arr(neutral_names(names(coef(m)), model.frame(m))), estimate = arr(num(coef(m))), se = arr(num(s$coefficients[, 2])), vcov = mat(vcov(m))), sigma = s$sigma, r_squared = s$r.squared, loglik = as.numeric(logLik(m)), loglik_reml = as.numeric(logLik(m, REML = TRUE)), aic = AIC(m), bic = BIC(m)) }
res <- list()
for (set in if (tree == "golden") c("sub5000", "full") else "full") {
  tab <- function(type) { d <- if (is.null(type)) d0 else d0[d0$bpt == type, ]; if (set == "sub5000") d <- d[seq_len(5000), ]; droplevels(d) }
  res[[length(res) + 1]] <- c(ols(tab(NULL), paste0("m1_", set)), list(rows = set, statsmodels = "OLS('bp ~ age + female + C(bpt) + bmi')"))
  for (s in specs) {
    d <- tab(s$type); attr(d, "file") <- NULL; sp <- list(id = sprintf("m%d_%s", s$k, set), formula = s$formula, reml = TRUE, note = s$note, desc = s$sm)
    assign("d", d, globalenv()); gc(FALSE)
    tm <- system.time(suppressWarnings(suppressMessages(eval(parse(text = sprintf("lme4::lmer(%s, data=d)", s$formula)), globalenv()))))[3]
    tn <- system.time(suppressWarnings(suppressMessages(eval(parse(text = sprintf("lme4::lmer(%s, data=d, control=lmerControl(calc.derivs=FALSE))", s$formula)), globalenv()))))[3]
    fm <- fit_lmer(sp, d, big = TRUE); r <- extract_lmer(sp, d, fm, big = TRUE)
    r$rows <- set; r$rows_used <- paste0(if (is.null(s$type)) "all rows" else paste0("rows with bpt == '", s$type, "'"), if (set == "sub5000") ", first 5000 of them in file order" else ""); r$statsmodels <- s$sm
    r$r_code <- sprintf("lmer(%s, data = d)", s$formula); r$lme4_seconds_default <- unname(tm); r$lme4_seconds_no_derivs <- unname(tn)
    v <- vapply(r$random, function(x) x$variance[1], 0); if (s$k %in% 2:3) r$icc <- v[1] / (v[1] + r$sigma^2)
    cat(sprintf("m%d %-8s n=%d crit %.6f optdiff %.1e grad %.1e sing %s lme4 default %.2fs (no derivs %.2fs) sd %s sigma %.4f\n", s$k, set, r$n_obs, r$criterion, r$optimisers$max_abs_logLik_difference, r$optimisers$refined_max_abs_gradient, r$singular, tm, tn, paste(sprintf("%.4f", sqrt(v)), collapse = " "), r$sigma))
    res[[length(res) + 1]] <- r
  }
}
pv <- provenance("scripts/21_nhanes.R"); pv$machine <- "2 shared virtual CPU cores, one process, reference BLAS"
write_ref(list(dataset = nm, data_file = paste0("data/", nm, ".csv.gz"), provenance = pv,
  row_sets = list(full = "all rows of the table the model uses", sub5000 = "first 5000 rows (file order) of the table the model uses: all rows for models 1, 5-8, systolic rows for 2, diastolic rows for 3 and 4"),
  derived_columns = "sy, di, di1, di2, di3, di123: nhanes_like.add_indicators; bpt reference level is DI", models = res), file.path(tree, "reference", paste0(nm, ".json")))
