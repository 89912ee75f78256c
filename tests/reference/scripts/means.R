# Reference values of means, contrasts and slopes: R's emmeans on bundled data, with the degrees of freedom of lmerTest.
# Rscript means.R DATA OUT: DATA has ratpupweight.csv and oats.csv as bayesmm.datasets.load(...).to_csv(index=False)
# writes them; OUT is tests/inference/means.json.
suppressMessages({library(lme4); library(lmerTest); library(emmeans); library(jsonlite)})
emm_options(lmer.df = "satterthwaite")
arguments <- commandArgs(TRUE)
read <- function(name) read.csv(file.path(arguments[1], paste0(name, ".csv")), stringsAsFactors = TRUE)
pup <- read("ratpupweight")
pup$two <- ifelse(pup$sex == "Male", 1.5, 0.5)
oats <- read("oats")
oats$nitro <- factor(oats$nitro)
hollow <- droplevels(subset(oats, !(Variety == "Victory" & nitro == "0.6")))
precise <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10))
calls <- list(
  pup = "lmer(weight ~ Treatment * sex + Lsize + (1 | Litter), pup)",
  curved = "lmer(weight ~ Treatment * poly(Lsize, 2) + sex + (1 | Litter), pup)",
  shifted = "lmer(weight ~ Treatment * two + offset(log(Lsize)) + (1 | Litter), pup)",
  uneven = "lmer(yield ~ Variety * nitro + (1 | Block/Variety), oats[-c(1, 2, 3, 5, 8, 13, 21, 34, 55), ])",
  hollow = "lmer(yield ~ Variety * nitro + (1 | Block), hollow)")
fits <- suppressMessages(lapply(calls, function(text) update(eval(parse(text = text)), control = precise)))
ask <- function(model, text) {
  set.seed(1)
  shown <- suppressMessages(suppressWarnings(eval(parse(text = text), c(fits[model], list(fit = fits[[model]])))))
  list(model = unbox(model), call = unbox(text), table = data.frame(shown))
}
both <- function(model, text) list(ask(model, sprintf("summary(%s)", text)), ask(model, sprintf("confint(%s)", text)))
entries <- c(list(
  ask("pup", "emmeans(fit, 'Treatment')"),
  ask("pup", "emmeans(fit, 'Treatment', lmer.df = 'kenward-roger')"),
  ask("pup", "emmeans(fit, 'Treatment', weights = 'proportional')"),
  ask("pup", "emmeans(fit, 'Treatment', weights = 'cells')"),
  ask("pup", "emmeans(fit, 'Lsize', weights = 'proportional')"),
  ask("pup", "emmeans(fit, 'Lsize', weights = 'outer')"),
  ask("pup", "emmeans(fit, 'Treatment', by = 'sex')"),
  ask("pup", "emmeans(fit, ~ Treatment * sex, at = list(Lsize = c(10, 14)))"),
  ask("pup", "contrast(emmeans(fit, ~ Treatment * sex), interaction = 'pairwise')"),
  ask("pup", "pairs(emmeans(fit, 'Treatment', by = 'sex'))"),
  ask("curved", "emmeans(fit, 'Treatment')"),
  ask("curved", "emtrends(fit, 'Treatment', var = 'Lsize', delta.var = 1e-6)"),
  ask("curved", "pairs(emtrends(fit, 'Treatment', var = 'Lsize', delta.var = 1e-6, at = list(Lsize = 14)))"),
  ask("shifted", "emmeans(fit, 'Treatment')"),
  ask("shifted", "emmeans(fit, 'two')"),
  ask("uneven", "contrast(emmeans(fit, 'nitro'), 'poly')"),
  ask("uneven", "contrast(emmeans(fit, 'nitro'), 'consec', adjust = 'mvt')"),
  ask("uneven", "pairs(emmeans(fit, 'nitro'), adjust = 'mvt')"),
  ask("uneven", "pairs(emmeans(fit, 'nitro'), reverse = TRUE, adjust = 'none')"),
  ask("hollow", "emmeans(fit, ~ Variety * nitro)"),
  ask("hollow", "emmeans(fit, 'Variety')"),
  ask("hollow", "emmeans(fit, 'Variety', weights = 'cells')"),
  ask("hollow", "emmeans(fit, 'Variety', weights = 'flat')"),
  ask("hollow", "pairs(emmeans(fit, 'Variety', by = 'nitro'))")),
  unlist(lapply(c("tukey", "holm", "bonferroni", "sidak", "scheffe", "fdr", "none"), function(name)
    both("pup", sprintf("pairs(emmeans(fit, 'Treatment'), adjust = '%s')", name))), recursive = FALSE),
  both("pup", "contrast(emmeans(fit, 'Treatment'), 'trt.vs.ctrl', adjust = 'mvt')"),
  both("pup", "contrast(emmeans(fit, 'Treatment'), 'eff')"))
joint <- list(
  list(model = unbox("pup"), call = unbox("test(pairs(emmeans(fit, 'Treatment', lmer.df = 'kenward-roger')), joint = TRUE)"),
       table = data.frame(test(pairs(emmeans(fits$pup, "Treatment", lmer.df = "kenward-roger")), joint = TRUE))))
write_json(list(versions = list(R = unbox(R.version.string), emmeans = unbox(as.character(packageVersion("emmeans"))),
    lmerTest = unbox(as.character(packageVersion("lmerTest")))), models = lapply(calls, unbox), entries = entries,
    joint = joint), arguments[2], digits = NA, na = "null", pretty = 1)
