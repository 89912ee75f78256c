# Smooth terms by mgcv, whose REML criterion is that of a mixed model. Run from the root: Rscript THIS > tests/smooths/mgcv.json
suppressMessages(library(mgcv)); options(digits = 15)
number <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
one <- function(name, m, new, group) {
  sds <- suppressMessages({ capture.output(v <- gam.vcomp(m, rescale = FALSE)); v })
  tab <- if (is.list(sds)) sds$vc else sds
  p <- predict(m, new, se.fit = TRUE, exclude = group, newdata.guaranteed = FALSE)
  cat(sprintf('  "%s": {"sigma": %.12g, "edf": %s, "group_sd": %s, "predicted": %s, "conditional_se": %s}', name, sqrt(m$sig2),
    number(summary(m)$s.table[1, "edf"]), if (is.null(group)) "null" else sprintf("%.12g", tab[2, 1]), number(p$fit), number(p$se.fit)))
}
ox <- read.csv("bayesmm/datasets/files/oxboys.csv"); ox$Subject <- factor(ox$Subject)
d <- read.csv("bayesmm/datasets/files/dietox.csv"); d$Pig <- factor(d$Pig)
newd <- data.frame(Time = c(1, 4.5, 9, 12, 14), Pig = d$Pig[1])
newo <- data.frame(age = c(-1, -0.3, 0.2, 0.9), Subject = ox$Subject[1])
cat(sprintf('{"provenance": "R %s, mgcv %s",\n', getRversion(), packageVersion("mgcv")))
one("dietox cr", gam(Weight ~ s(Time, bs = "cr", k = 8) + s(Pig, bs = "re"), data = d, method = "REML"), newd, "s(Pig)"); cat(",\n")
one("dietox bs", gam(Weight ~ s(Time, bs = "bs", k = 8) + s(Pig, bs = "re"), data = d, method = "REML"), newd[1:4, ], "s(Pig)"); cat(",\n")
one("oxboys cr", gam(height ~ s(age, bs = "cr", k = 10), data = ox, method = "REML"), newo, NULL); cat(",\n")
g <- gamm(Weight ~ s(Time, bs = "cr", k = 8), data = d, correlation = corAR1(form = ~ Time | Pig), method = "REML")
p <- predict(g$gam, newd[1:4, ], se.fit = TRUE)
cat(sprintf('  "dietox ar1": {"sigma": %.12g, "rho": %.12g, "edf": %s, "predicted": %s, "conditional_se": %s}}\n', g$lme$sigma,
  coef(g$lme$modelStruct$corStruct, unconstrained = FALSE), number(summary(g$gam)$edf), number(p$fit), number(p$se.fit)))
