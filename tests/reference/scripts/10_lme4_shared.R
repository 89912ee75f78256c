# Golden values of linear mixed models, lme4.   Rscript scripts/10_lme4_shared.R [dataset ...]
source("scripts/common.R")
only <- commandArgs(TRUE)
SC <- "scripts/10_lme4_shared.R"
sp <- function(id, formula, reml = TRUE, ...) list(id = id, formula = formula, reml = reml, ...)
run <- function(name, ...) if (!length(only) || name %in% only) { cat(name, "\n"); run_dataset(name, ..., tree_out = "golden", script = SC) }

nd <- data.frame(Days = c(0, 5, 9, 10, 3), Subject = c("308", "309", "372", "999", "308"))
run("sleepstudy", list(
  sp("ri_reml", "Reaction ~ Days + (1 | Subject)", kr = TRUE, anova = TRUE, newdata = nd, hat = TRUE, r2 = TRUE),
  sp("ri_ml", "Reaction ~ Days + (1 | Subject)", FALSE, profile = TRUE, newdata = nd),
  sp("ris_reml", "Reaction ~ Days + (Days | Subject)", kr = TRUE, anova = TRUE, newdata = nd, hat = TRUE, r2 = TRUE),
  sp("ris_ml", "Reaction ~ Days + (Days | Subject)", FALSE, profile = TRUE, newdata = nd, hat = TRUE),
  sp("uncorr_reml", "Reaction ~ Days + (Days || Subject)", kr = TRUE, newdata = nd, r2 = TRUE),
  sp("uncorr_ml", "Reaction ~ Days + (Days || Subject)", FALSE, profile = TRUE),
  sp("slope_only_reml", "Reaction ~ Days + (0 + Days | Subject)", kr = TRUE, newdata = nd),
  sp("intercept_only_reml", "Reaction ~ 1 + (1 | Subject)", kr = TRUE),
  sp("intercept_only_ml", "Reaction ~ 1 + (1 | Subject)", FALSE),
  sp("no_intercept_reml", "Reaction ~ 0 + Days + (Days | Subject)", kr = TRUE),
  sp("no_fixed_effects_ml", "Reaction ~ 0 + (Days | Subject)", FALSE, satt = FALSE, desc = "model without any fixed effect"),
  sp("centred_reml", "Reaction ~ I(Days - 4.5) + (I(Days - 4.5) | Subject)", kr = TRUE, desc = "same likelihood as ris_reml, other parametrisation"),
  sp("quadratic_reml", "Reaction ~ Days + I(Days^2) + (1 | Subject)", kr = TRUE, anova = TRUE, newdata = nd),
  sp("quadratic_ris_ml", "Reaction ~ Days + I(Days^2) + (Days | Subject)", FALSE),
  sp("cov3x3_reml", "Reaction ~ Days + I(Days^2) + (Days + I(Days^2) | Subject)", kr = TRUE, desc = "3x3 covariance"),
  sp("cov3x3_ml", "Reaction ~ Days + I(Days^2) + (Days + I(Days^2) | Subject)", FALSE, desc = "3x3 covariance"),
  sp("days_factor_reml", "Reaction ~ factor(Days) + (1 | Subject)", kr = TRUE, anova = TRUE, desc = "Days as a ten-level factor"),
  sp("random_day_crossed_reml", "Reaction ~ 1 + (1 | Subject) + (1 | Days)", kr = TRUE, desc = "a numeric column used as a second, crossed grouping factor")),
  lrts = list(c("ri_ml", "uncorr_ml"), c("uncorr_ml", "ris_ml"), c("ri_ml", "ris_ml"), c("intercept_only_ml", "ri_ml"), c("ris_ml", "quadratic_ris_ml"), c("quadratic_ris_ml", "cov3x3_ml")))

run("sleepstudy_ext", list(
  sp("weights_ri_reml", "Reaction ~ Days + (1 | Subject)", weights = "w", note = "prior weights: residual variance = sigma^2 / w; log likelihood includes sum(log w)/2"),
  sp("weights_ris_reml", "Reaction ~ Days + (Days | Subject)", weights = "w"),
  sp("weights_ris_ml", "Reaction ~ Days + (Days | Subject)", FALSE, weights = "w", profile = TRUE),
  sp("offset_ris_reml", "Reaction ~ Days + offset(off) + (Days | Subject)", kr = TRUE, note = "fitted values and predictions include the offset", newdata = data.frame(Days = c(2, 12), off = c(5, -3), Subject = c("330", "new"))),
  sp("offset_ri_ml", "Reaction ~ Days + offset(off) + (1 | Subject)", FALSE),
  sp("weights_offset_uncorr_reml", "Reaction ~ Days + offset(off) + (Days || Subject)", weights = "w"),
  sp("unbalanced_ri_reml", "Reaction ~ Days + (1 | Subject)", keep = "keep == 1", kr = TRUE, r2 = TRUE),
  sp("unbalanced_ris_reml", "Reaction ~ Days + (Days | Subject)", keep = "keep == 1", kr = TRUE, anova = TRUE, newdata = data.frame(Days = c(0, 5, 9, 10), Subject = c("308", "310", "333", "350"))),
  sp("unbalanced_ris_ml", "Reaction ~ Days + (Days | Subject)", FALSE, keep = "keep == 1"),
  sp("rank_deficient_reml", "Reaction ~ Days + Days_dup + (Days | Subject)", desc = "Days_dup = 2*Days+1", note = "lme4 drops the aliased column (the later one, by pivoted QR) with a message and fits the rest; criterion as ris_reml", kr = FALSE),
  sp("rank_deficient_factor_ml", "Reaction ~ block + late + Days + (1 | Subject)", FALSE, note = "late duplicates block[T.late]; lme4 drops late"),
  sp("factor_re_full_reml", "Reaction ~ block + (0 + block | Subject)", kr = TRUE, desc = "full dummy coding in the random effect, 2x2 covariance"),
  sp("factor_re_treatment_reml", "Reaction ~ block + (block | Subject)", desc = "same model as factor_re_full_reml, treatment coding in the random effect"),
  sp("double_bar_numeric_reml", "Reaction ~ block + (late || Subject)", desc = "|| on a 0/1 numeric column: independent intercept and slope"),
  sp("double_bar_factor_gotcha_reml", "Reaction ~ block + (block || Subject)", satt = FALSE, desc = "|| on a factor in lme4",
     note = "lme4 expands (block || Subject) to (1 | Subject) + (0 + block | Subject) with a full 2x2 covariance of both dummies: correlation is NOT removed, and the intercept variance is not identifiable next to it. Compare criterion, fixed effects, sigma and fitted values only; sd/corr/theta/ranef split are arbitrary. The criterion equals factor_re_full_reml.")),
  lrts = list(c("offset_ri_ml", "offset_ri_ml"))[0])

run("Dyestuff", list(
  sp("ri_reml", "Yield ~ 1 + (1 | Batch)", kr = TRUE, hat = TRUE, r2 = TRUE, newdata = data.frame(Batch = c("A", "C", "Z"))),
  sp("ri_ml", "Yield ~ 1 + (1 | Batch)", FALSE, profile = TRUE)))
run("Dyestuff2", list(
  sp("ri_reml", "Yield ~ 1 + (1 | Batch)", note = "singular: batch variance exactly 0; equals the least-squares fit", newdata = data.frame(Batch = c("A", "Z"))),
  sp("ri_ml", "Yield ~ 1 + (1 | Batch)", FALSE, profile = TRUE, note = "singular: batch variance exactly 0")))
run("Penicillin", list(
  sp("crossed_reml", "diameter ~ 1 + (1 | plate) + (1 | sample)", kr = TRUE, profile = TRUE, hat = TRUE, r2 = TRUE,
     newdata = data.frame(plate = c("a", "x", "zz", "b"), sample = c("A", "F", "C", "Q")), reform = "~(1 | plate)"),
  sp("plate_only_reml", "diameter ~ 1 + (1 | plate)"), sp("sample_fixed_reml", "diameter ~ sample + (1 | plate)", kr = TRUE, anova = TRUE, emm = "sample")))
run("Pastes", list(
  sp("nested_reml", "strength ~ 1 + (1 | batch/cask)", kr = TRUE, r2 = TRUE, newdata = data.frame(batch = c("A", "A", "J", "Z"), cask = c("a", "new", "c", "a"))),
  sp("nested_ml", "strength ~ 1 + (1 | batch/cask)", FALSE, profile = TRUE),
  sp("sample_only_ml", "strength ~ 1 + (1 | sample)", FALSE, profile = TRUE),
  sp("batch_plus_sample_reml", "strength ~ 1 + (1 | batch) + (1 | sample)", desc = "same model as nested_reml with the pre-built interaction factor"),
  sp("wrong_crossed_reml", "strength ~ 1 + (1 | batch) + (1 | cask)", desc = "cask labels a,b,c wrongly treated as crossed")),
  lrts = list(c("sample_only_ml", "nested_ml")))
run("cake", list(
  sp("split_plot_reml", "angle ~ recipe * temperature + (1 | recipe:replicate)", kr = TRUE, anova = TRUE, emm = "recipe", desc = "temperature as factor"),
  sp("temp_linear_reml", "angle ~ recipe + temp + (1 | recipe:replicate)", kr = TRUE, anova = TRUE, newdata = data.frame(recipe = c("A", "B", "C"), temp = c(180, 200, 230), replicate = c("1", "15", "99"))),
  sp("temp_linear_ml", "angle ~ recipe + temp + (1 | recipe:replicate)", FALSE),
  sp("temp_interaction_ml", "angle ~ recipe * temp + (1 | recipe:replicate)", FALSE),
  sp("replicate_nested_reml", "angle ~ recipe + temp + (1 | replicate/recipe)", kr = TRUE),
  sp("factor_re_reml", "angle ~ recipe + temp + (0 + recipe | replicate)", desc = "3x3 covariance of a factor random effect"),
  sp("badly_scaled_slope_reml", "angle ~ temp + (temp | recipe:replicate)", desc = "uncentred covariate 175..225: ill-conditioned")),
  lrts = list(c("temp_linear_ml", "temp_interaction_ml")))
run("cbpp", list(
  sp("prop_weighted_reml", "prop ~ period + (1 | herd)", weights = "size", anova = TRUE), sp("prop_weighted_ml", "prop ~ period + (1 | herd)", FALSE, weights = "size"),
  sp("prop_unweighted_reml", "prop ~ period + (1 | herd)", kr = TRUE, anova = TRUE)))
run("grouseticks", list(
  sp("nested_reml", "logticks ~ YEAR + cHEIGHT + (1 | LOCATION/BROOD)", kr = TRUE, anova = TRUE),
  sp("two_factors_ml", "logticks ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", FALSE), sp("location_year_reml", "logticks ~ cHEIGHT + (1 | LOCATION) + (1 | YEAR:BROOD)")))
run("VerbAgg", list(
  sp("crossed_reml", "y ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", anova = TRUE, r2 = TRUE),
  sp("crossed_slopes_ml", "y ~ Anger + Gender + btype * mode + (1 + Anger || item) + (1 | id)", FALSE, satt = FALSE),
  sp("factor_re_reml", "y ~ btype + situ + (0 + btype | id) + (1 | item)", satt = FALSE)))
run("InstEval", list(
  sp("crossed_reml", "y ~ 1 + (1 | s) + (1 | d)", big = TRUE), sp("crossed_service_ml", "y ~ service + (1 | s) + (1 | d)", FALSE, big = TRUE),
  sp("three_factors_reml", "y ~ service + studage + lectage + (1 | s) + (1 | d) + (1 | dept)", big = TRUE)))
run("Orthodont", list(
  sp("ri_reml", "distance ~ age + (1 | Subject)", kr = TRUE, r2 = TRUE, newdata = data.frame(age = c(8, 11, 16), Subject = c("M01", "F10", "new"))),
  sp("ri_ml", "distance ~ age + (1 | Subject)", FALSE, profile = TRUE),
  sp("ris_reml", "distance ~ age + (age | Subject)", kr = TRUE, hat = TRUE),
  sp("ris_sex_reml", "distance ~ age * Sex + (age | Subject)", kr = TRUE, anova = TRUE, r2 = TRUE),
  sp("ris_sex_ml", "distance ~ age * Sex + (age | Subject)", FALSE), sp("ri_sex_ml", "distance ~ age * Sex + (1 | Subject)", FALSE),
  sp("cell_means_reml", "distance ~ 0 + Sex + Sex:age + (1 | Subject)", kr = TRUE, desc = "no intercept, one line per sex")),
  lrts = list(c("ri_sex_ml", "ris_sex_ml")))
run("Rail", list(sp("ri_reml", "travel ~ 1 + (1 | Rail)", kr = TRUE, newdata = data.frame(Rail = c("1", "6", "7"))), sp("ri_ml", "travel ~ 1 + (1 | Rail)", FALSE, profile = TRUE)))
run("Oxide", list(
  sp("nested_reml", "Thickness ~ 1 + (1 | Lot/Wafer)", kr = TRUE, r2 = TRUE), sp("nested_source_reml", "Thickness ~ Source + (1 | Lot/Wafer)", kr = TRUE, anova = TRUE, emm = "Source"), sp("nested_source_ml", "Thickness ~ Source + (1 | Lot/Wafer)", FALSE),
  sp("three_levels_site_reml", "Thickness ~ Source + (1 | Lot) + (1 | Lot:Wafer) + (1 | Site)")))
run("Machines", list(
  sp("ri_reml", "score ~ Machine + (1 | Worker)", kr = TRUE, anova = TRUE, emm = "Machine"),
  sp("interaction_reml", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", kr = TRUE, anova = TRUE, emm = "Machine", r2 = TRUE, newdata = data.frame(Machine = c("A", "C", "B"), Worker = c("1", "6", "7"))),
  sp("cell_means_reml", "score ~ 0 + Machine + (1 | Worker)", kr = TRUE),
  sp("double_bar_factor_gotcha_reml", "score ~ Machine + (Machine || Worker)", satt = FALSE,
     note = "lme4 expands to (1 | Worker) + (0 + Machine | Worker) with a full 3x3 covariance; sd/corr/theta/ranef split are not identifiable; compare criterion, fixed effects, sigma, fitted values only")))
run("ergoStool", list(sp("ri_reml", "effort ~ Type + (1 | Subject)", kr = TRUE, anova = TRUE, emm = "Type", hat = TRUE, r2 = TRUE), sp("no_intercept_reml", "effort ~ 0 + Type + (1 | Subject)", kr = TRUE)))
run("Ovary", list(sp("ri_reml", "follicles ~ sin1 + cos1 + (1 | Mare)", kr = TRUE), sp("uncorr_ml", "follicles ~ sin1 + cos1 + (sin1 || Mare)", FALSE)))
run("BodyWeight", list(sp("ris_reml", "weight ~ Time * Diet + (Time | Rat)", kr = TRUE, anova = TRUE), sp("ris_ml", "weight ~ Time * Diet + (Time | Rat)", FALSE)))
run("Pixel", list(sp("dog_side_reml", "pixel ~ day + I(day^2) + (day | Dog) + (1 | Dog:Side)", kr = TRUE), sp("dog_side_ml", "pixel ~ day + I(day^2) + (day | Dog) + (1 | Dog:Side)", FALSE)))
run("Oats", list(sp("nitro_reml", "yield ~ nitro + (1 | Block/Variety)", kr = TRUE, r2 = TRUE), sp("nitro_variety_reml", "yield ~ nitro + Variety + (1 | Block/Variety)", kr = TRUE, anova = TRUE, emm = "Variety"), sp("nitro_ml", "yield ~ nitro + (1 | Block/Variety)", FALSE, profile = TRUE)))
run("Assay", list(sp("block_reml", "logDens ~ sample * dilut + (1 | Block)", kr = TRUE, anova = TRUE, desc = "only two blocks"), sp("additive_ml", "logDens ~ sample + dilut + (1 | Block)", FALSE)))
run("Gasoline", list(sp("ri_reml", "yield ~ endpoint + (1 | Sample)", kr = TRUE), sp("ri_vapor_reml", "yield ~ endpoint + vapor + (1 | Sample)", kr = TRUE), sp("ri_ml", "yield ~ endpoint + (1 | Sample)", FALSE, profile = TRUE)))
run("petrol", list(sp("full_reml", "Y ~ SG + VP + V10 + EP + (1 | No)", kr = TRUE, anova = TRUE), sp("full_ml", "Y ~ SG + VP + V10 + EP + (1 | No)", FALSE), sp("small_ml", "Y ~ V10 + EP + (1 | No)", FALSE), sp("slope_ml", "Y ~ V10 + EP + (1 + EP | No)", FALSE, note = "badly scaled, possibly singular slope")), lrts = list(c("small_ml", "full_ml")))
run("Glucose", list(sp("nested_reml", "conc ~ Meal + Time + I(Time^2) + (1 | Subject/Meal)", kr = TRUE, anova = TRUE, note = "singular: both variances 0"), sp("nested_ml", "conc ~ Meal + Time + I(Time^2) + (1 | Subject/Meal)", FALSE, note = "singular: both variances 0"), sp("time_factor_reml", "conc ~ Meal + factor(Time) + (1 | Subject/Meal)", anova = TRUE, note = "singular: Subject variance 0, Meal:Subject variance > 0")))
run("RatPupWeight", list(sp("treatment_sex_reml", "weight ~ Treatment * sex + Lsize + (1 | Litter)", kr = TRUE, anova = TRUE, emm = c("Treatment"), r2 = TRUE), sp("additive_ml", "weight ~ Treatment + sex + Lsize + (1 | Litter)", FALSE), sp("treatment_sex_ml", "weight ~ Treatment * sex + Lsize + (1 | Litter)", FALSE)), lrts = list(c("additive_ml", "treatment_sex_ml")))
run("Oxboys", list(sp("ris_reml", "height ~ age + (age | Subject)", kr = TRUE, r2 = TRUE), sp("cov3x3_reml", "height ~ age + I(age^2) + (age + I(age^2) | Subject)", kr = TRUE), sp("cov3x3_ml", "height ~ age + I(age^2) + (age + I(age^2) | Subject)", FALSE), sp("uncorr3_ml", "height ~ age + I(age^2) + (age + I(age^2) || Subject)", FALSE)), lrts = list(c("uncorr3_ml", "cov3x3_ml")))
run("epil", list(sp("ri_reml", "logy ~ lbase * trt + lage + V4 + (1 | subject)", kr = TRUE), sp("ris_ml", "logy ~ lbase * trt + lage + period + (period | subject)", FALSE)))
run("Exam", list(sp("ri_ml", "normexam ~ standLRT + (1 | school)", FALSE), sp("ris_ml", "normexam ~ standLRT + (standLRT | school)", FALSE), sp("ris_reml", "normexam ~ standLRT + sex + (standLRT | school)", anova = TRUE, r2 = TRUE)), lrts = list(c("ri_ml", "ris_ml")))
run("Hsb82", list(sp("cross_level_reml", "mAch ~ meanses * cses + sector * cses + (cses | school)", anova = TRUE, r2 = TRUE), sp("cross_level_ml", "mAch ~ meanses * cses + sector * cses + (cses | school)", FALSE), sp("null_reml", "mAch ~ 1 + (1 | school)", r2 = TRUE)))
run("egsingle", list(sp("three_level_slopes_reml", "math ~ year + (year | childid) + (year | schoolid)", big = TRUE), sp("three_level_ml", "math ~ year + size + lowinc + (1 | childid) + (1 | schoolid)", FALSE, big = TRUE)))
run("Early", list(sp("ris_reml", "cog ~ tos * trt + (tos | id)", note = "singular: correlation -1"), sp("ris_ml", "cog ~ tos * trt + (tos | id)", FALSE, note = "singular: correlation -1"), sp("ri_ml", "cog ~ tos * trt + (1 | id)", FALSE)))
run("dietox", list(sp("ri_reml", "Weight ~ Time + (1 | Pig)", kr = FALSE), sp("ris_reml", "Weight ~ Time + (Time | Pig)"), sp("ris_ml", "Weight ~ Time + (Time | Pig)", FALSE), sp("uncorr_reml", "Weight ~ Time + (Time || Pig)"), sp("litter_pig_reml", "Weight ~ Time + Cu + (1 | Litter/Pig)", satt = TRUE)))
run("rats", list(sp("ris_reml", "weight ~ day + (day | rat)", kr = TRUE), sp("ris_ml", "weight ~ day + (day | rat)", FALSE, profile = TRUE), sp("centred_uncorr_reml", "weight ~ I(day - 22) + (I(day - 22) || rat)", kr = TRUE, desc = "covariance structure of the BUGS example (independent intercepts and slopes at day 22)")))
run("sim_unbalanced", list(sp("ri_reml", "y ~ x + z + (1 | g)", kr = TRUE), sp("ris_reml", "y ~ x + z + (x | g)", kr = TRUE, newdata = data.frame(x = c(0, 1, -1), z = c(0, .5, 1), g = c("g01", "g12", "g99"))), sp("ris_ml", "y ~ x + z + (x | g)", FALSE)))
run("sim_multi", list(
  sp("three_terms_reml", "y ~ x1 + x2 + (1 | g) + (0 + x1 | g) + (0 + x2 | g)", kr = TRUE, desc = "three independent terms on the same group"),
  sp("double_bar_reml", "y ~ x1 + x2 + (x1 + x2 || g)", kr = TRUE, desc = "same model as three_terms_reml"),
  sp("mixed_terms_reml", "y ~ x1 + x2 + (x1 | g) + (0 + x2 | g)", kr = TRUE, newdata = data.frame(x1 = c(0, 1, -1), x2 = c(1, 0, 2), g = c("g01", "g40", "g77"))), sp("full3_reml", "y ~ x1 + x2 + (x1 + x2 | g)", kr = TRUE), sp("full3_ml", "y ~ x1 + x2 + (x1 + x2 | g)", FALSE),
  sp("three_terms_ml", "y ~ x1 + x2 + (1 | g) + (0 + x1 | g) + (0 + x2 | g)", FALSE),
  sp("factor_re_reml", "y ~ f + (0 + f | g)", kr = TRUE, anova = TRUE), sp("factor_treatment_re_reml", "y ~ f + (f | g)", desc = "same likelihood as factor_re_reml"), sp("interaction_reml", "y ~ f * x1 + (1 | g)", kr = TRUE, anova = TRUE),
  sp("factor_and_slope_ml", "y ~ f + x1 + x2 + (0 + f | g) + (0 + x1 + x2 | g)", FALSE), sp("interaction_group_reml", "y ~ f + x1 + (1 | g) + (1 | g:f)", kr = TRUE)),
  lrts = list(c("three_terms_ml", "full3_ml")))
run("sim_singular", list(sp("ris_reml", "y ~ x + (x | g)", note = "singular: correlation +1"), sp("ris_ml", "y ~ x + (x | g)", FALSE, note = "singular: correlation +1"), sp("uncorr_reml", "y ~ x + (x || g)", kr = TRUE)))
