# Export classical data sets to plain CSV (long format) + schema.json + README table.
# Run from the directory that contains scripts/ and golden/:
#   Rscript scripts/00_export_data.R
suppressPackageStartupMessages({library(jsonlite)})
RNGversion("4.2.0")

sorted_levels <- function(x) {
  l <- unique(as.character(x)); l <- l[!is.na(l)]
  num <- suppressWarnings(as.numeric(l))
  if (!anyNA(num)) l[order(num)] else sort(l, method = "radix")   # code-point order
}
getd <- function(pkg, obj) { e <- new.env(); data(list = obj, package = pkg, envir = e)
  as.data.frame(e[[obj]]) }

reg <- list(golden = list())
add <- function(tree, name, d, from, units, source, title, gz = FALSE, numeric_cols = character(), note = NULL) {
  d <- as.data.frame(unclass(d), stringsAsFactors = FALSE, check.names = FALSE)
  names(d) <- gsub(".", "_", names(d), fixed = TRUE)
  cols <- list()
  for (v in names(d)) {
    x <- d[[v]]
    if (is.factor(x) || is.character(x)) {
      x <- trimws(as.character(x)); lv <- sorted_levels(x); d[[v]] <- x
      cols[[v]] <- list(type = "factor", n_levels = length(lv),
                        levels = if (length(lv) <= 60) I(lv) else NULL)
    } else {
      x <- as.numeric(x); attributes(x) <- NULL; d[[v]] <- x
      cols[[v]] <- list(type = if (all(x == round(x), na.rm = TRUE)) "integer" else "numeric",
                        min = min(x, na.rm = TRUE), max = max(x, na.rm = TRUE), sum = sum(x, na.rm = TRUE),
                        n_missing = sum(is.na(x)))
    }
  }
  f <- file.path(tree, "data", paste0(name, ".csv"))
  out <- d
  for (v in names(out)) if (is.numeric(out[[v]])) {
    s <- vapply(out[[v]], function(z) if (is.na(z)) "" else format(z, digits = 15, scientific = FALSE, trim = TRUE, drop0trailing = TRUE), "")
    z <- abs(out[[v]]); small <- !is.na(z) & z > 0 & z < 1e-6
    s[small] <- format(out[[v]][small], digits = 15, scientific = TRUE, trim = TRUE)
    out[[v]] <- s
  }
  con <- if (gz) gzfile(paste0(f, ".gz"), "wb", compression = 9) else file(f, "wb")
  write.table(out, con, sep = ",", row.names = FALSE, quote = FALSE, na = "", eol = "\n", col.names = TRUE)
  close(con)
  stopifnot(!any(grepl(",", unlist(lapply(out, as.character)), fixed = TRUE)))
  reg[[tree]][[name]] <<- list(file = paste0(name, ".csv", if (gz) ".gz" else ""), title = title, rows = nrow(d),
      columns = cols, units = units, source = source, read_from = from, note = note)
}
L <- function(o) getd("lme4", o); N <- function(o) getd("nlme", o); M <- function(o) getd("MASS", o); R <- function(o) getd("mlmRev", o)

## ---------------------------------------------------------------- lme4
ss <- L("sleepstudy")
S <- "golden"
add(S, "sleepstudy", ss, "lme4 1.1-31", "Reaction: mean reaction time (ms); Days: days of sleep deprivation; Subject: id",
    "Belenky G et al. (2003). Patterns of performance degradation and restoration during sleep restriction and subsequent recovery: a sleep dose-response study. J Sleep Research 12:1-12",
    "Reaction times in a sleep-deprivation study")
# derived columns: prior weights, offset, two-level factor, collinear copy, row-deletion flag
sx <- ss; i <- seq_len(nrow(sx)) - 1L
sx$w <- 0.5 + ((i * 7) %% 10) / 5
sx$off <- 2 * sx$Days - ((i * 3) %% 8)
sx$block <- ifelse(sx$Days <= 4, "early", "late"); sx$late <- as.integer(sx$Days > 4)
sx$Days_dup <- 2 * sx$Days + 1
kp <- ((i * 11 + (i %/% 10) * 5) %% 17) < 11
sid <- i %/% 10                       # subject number 0..17
kp[sid == 2] <- sx$Days[sid == 2] == 3      # one observation only
kp[sid == 5] <- sx$Days[sid == 5] %in% c(0, 9)  # two observations
kp[sid == 9] <- FALSE                 # subject completely absent
sx$keep <- as.integer(kp)
add(S, "sleepstudy_ext", sx, "lme4 1.1-31 + derived columns (scripts/00_export_data.R)",
    "as sleepstudy; w: artificial prior weights; off: artificial offset (ms); block: early = Days 0-4, late = Days 5-9; late: 0/1 indicator of block; Days_dup = 2*Days+1 (collinear); keep: 1 = row kept in the unbalanced models",
    "derived from sleepstudy", "sleepstudy with artificial weights, offset, factor and deletion pattern")
dv <- "Davies OL, Goldsmith PL, eds. (1972). Statistical Methods in Research and Production, 4th ed. Oliver & Boyd"
add(S, "Dyestuff", L("Dyestuff"), "lme4 1.1-31", "Yield: yield of dyestuff (g of standard colour); Batch: id", paste0(dv, ", sec. 6.4"), "Yield of dyestuff by batch")
add(S, "Dyestuff2", L("Dyestuff2"), "lme4 1.1-31", "Yield: simulated (dimensionless); Batch: id", "Box GEP, Tiao GC (1973). Bayesian Inference in Statistical Analysis. Addison-Wesley, sec. 5.1.2", "Simulated dyestuff data with zero batch variance")
add(S, "Penicillin", L("Penicillin"), "lme4 1.1-31", "diameter: growth-inhibition zone (mm); plate, sample: ids", paste0(dv, ", sec. 6.6"), "Variation in penicillin testing (crossed)")
add(S, "Pastes", L("Pastes"), "lme4 1.1-31", "strength: paste strength; batch, cask (within batch), sample = batch:cask", paste0(dv, ", sec. 6.5"), "Paste strength by batch and cask (nested)")
add(S, "cake", L("cake"), "lme4 1.1-31", "angle: breaking angle (degrees); temp: baking temperature (deg F) as a number; temperature: same as a factor; recipe, replicate: ids",
    "Cook FE (1938). Chocolate cake, I. Optimum baking temperature. Master's thesis, Iowa State College; Cochran WG, Cox GM (1957). Experimental Designs, 2nd ed. Wiley", "Breakage angle of chocolate cakes (split plot)")
cb <- L("cbpp"); cb$prop <- cb$incidence / cb$size
add(S, "cbpp", cb, "lme4 1.1-31", "incidence: new serological cases (count); size: herd size (count); herd, period: ids; prop = incidence/size (derived)",
    "Lesnoff M et al. (2004). Within-herd spread of contagious bovine pleuropneumonia in Ethiopian highlands. Preventive Veterinary Medicine 64:27-40", "Contagious bovine pleuropneumonia", note = "count data; reference models are linear, on incidence/size with weights = size")
va <- L("VerbAgg"); va$y <- as.integer(va$r2 == "Y")
add(S, "VerbAgg", va, "lme4 1.1-31", "Anger: trait-anger score; Gender; item; resp (no/perhaps/yes); id: respondent; btype, situ, mode: item design; r2: resp dichotomised; y = 1 if r2 is Y (derived)",
    "Vansteelandt K (2000). PhD thesis, KU Leuven; De Boeck P, Wilson M (2004). Explanatory Item Response Models. Springer", "Verbal aggression item responses (crossed)", note = "binary data; reference models are linear probability models on y")
ie <- L("InstEval")
add(S, "InstEval", ie, "lme4 1.1-31", "y: rating 1-5; s: student; d: lecturer; studage: semester of student; lectage: semesters since the lecture; service: 1 = service lecture; dept: department",
    "ETH Zurich lecture evaluations, anonymised, in lme4 (Bates D, Maechler M, Bolker B, Walker S (2015) J Stat Software 67(1))", "University lecture evaluations by students (crossed, large)", gz = TRUE)
gt <- L("grouseticks"); gt$logticks <- log(gt$TICKS + 1)
add(S, "grouseticks", gt, "lme4 1.1-31", "TICKS: ticks on a chick (count); HEIGHT: altitude (m); cHEIGHT: centred; YEAR, BROOD, LOCATION, INDEX: ids; logticks = log(TICKS+1) (derived)",
    "Elston DA et al. (2001). Analysis of aggregation, a worked example: numbers of ticks on red grouse chicks. Parasitology 122:563-569", "Ticks on red grouse chicks", note = "count data; reference models are linear, on log(TICKS+1)")
## ---------------------------------------------------------------- nlme
pb <- "Pinheiro JC, Bates DM (2000). Mixed-Effects Models in S and S-PLUS. Springer"
add(S, "Orthodont", N("Orthodont"), "nlme 3.1-162", "distance: pituitary-pterygomaxillary (mm); age: years; Subject, Sex", "Potthoff RF, Roy SN (1964). A generalized multivariate analysis of variance model useful especially for growth curve problems. Biometrika 51:313-326", "Orthodontic growth")
add(S, "Rail", N("Rail"), "nlme 3.1-162", "travel: ultrasonic travel time (ns, minus 36,100); Rail: id", paste0("Devore JL (2000). Probability and Statistics for Engineering and the Sciences, 5th ed.; ", pb), "Railway-rail travel times")
add(S, "Oxide", N("Oxide"), "nlme 3.1-162", "Thickness: oxide layer (angstrom); Source; Lot; Wafer (within lot); Site", "Littell RC, Milliken GA, Stroup WW, Wolfinger RD (1996). SAS System for Mixed Models. SAS Institute", "Oxide thickness on silicon wafers (nested)")
add(S, "Machines", N("Machines"), "nlme 3.1-162", "score: productivity; Worker; Machine", "Milliken GA, Johnson DE (1992). Analysis of Messy Data, vol. 1. Chapman & Hall", "Productivity scores by worker and machine")
add(S, "ergoStool", N("ergoStool"), "nlme 3.1-162", "effort: Borg scale; Type: stool; Subject", "Devore JL (2000), as for Rail", "Effort to arise from stools")
ov <- N("Ovary"); ov$sin1 <- sin(2 * pi * ov$Time); ov$cos1 <- cos(2 * pi * ov$Time); ov$obs <- ave(ov$Time, as.character(ov$Mare), FUN = seq_along)
add(S, "Ovary", ov, "nlme 3.1-162", "follicles: count > 10 mm; Time: fraction of estrus cycle; Mare; sin1, cos1 = sin, cos(2*pi*Time), obs = running number within Mare (derived)", "Pierson RA, Ginther OJ (1987). Follicular population dynamics during the estrous cycle of the mare. Animal Reproduction Science 14:219-231", "Ovarian follicles in mares")
add(S, "BodyWeight", N("BodyWeight"), "nlme 3.1-162", "weight: g; Time: days; Rat; Diet", "Crowder MJ, Hand DJ (1990). Analysis of Repeated Measures. Chapman & Hall", "Rat body weights on three diets")
add(S, "Pixel", N("Pixel"), "nlme 3.1-162", "pixel: intensity in CT scan; day: days after contrast; Dog; Side of the animal", pb, "Lymph-node pixel intensity in dogs")
add(S, "Oats", N("Oats"), "nlme 3.1-162", "yield: quarter-pounds per sub-plot; nitro: cwt/acre; Block; Variety", "Yates F (1935). Complex experiments. J Roy Stat Soc Suppl 2:181-247", "Split-plot experiment on oats (same as MASS::oats)")
add(S, "Assay", N("Assay"), "nlme 3.1-162", "logDens: log optical density; Block; sample: plate row; dilut: plate column", paste0("Wolfe R, Lansky D (Searle Inc.), in ", pb), "Bioassay on cell-culture plates (crossed within block)")
add(S, "Gasoline", N("Gasoline"), "nlme 3.1-162", "yield: % of crude; endpoint: deg F; API gravity; vapor: psi; ASTM 10% point: deg F; Sample", "Prater NH (1955). Estimate gasoline yields from crudes. Petroleum Refiner 35(5)", "Refinery yield of gasoline (same data as MASS::petrol)")
add(S, "Glucose", N("Glucose"), "nlme 3.1-162", "conc: blood glucose; Time: hours after meal; Subject; Meal", "Hand DJ, Crowder MJ (1996). Practical Longitudinal Data Analysis. Chapman & Hall", "Glucose after alcohol at different times of day")
add(S, "RatPupWeight", N("RatPupWeight"), "nlme 3.1-162", "weight: g; sex; Litter; Lsize: litter size; Treatment", "Dempster AP, Selwyn MR, Patel CM, Roth AJ (1984). Statistical and computational aspects of mixed model analysis. Applied Statistics 33:203-214", "Rat-pup birth weights")
add(S, "Oxboys", N("Oxboys"), "nlme 3.1-162", "height: cm; age: standardised; Subject; Occasion", "Goldstein H (1987). Multilevel Models in Educational and Social Research. Griffin", "Heights of boys in Oxford")
## ---------------------------------------------------------------- MASS
add(S, "petrol", M("petrol"), "MASS 7.3-58.2", "Y: yield %; SG: specific gravity; VP: vapour pressure (psi); V10: ASTM 10% point (deg F); EP: end point (deg F); No: crude", "Prater NH (1956), as Gasoline", "N. L. Prater's petrol refinery data")
ep <- M("epil"); ep$logy <- log(ep$y + 1)
add(S, "epil", ep, "MASS 7.3-58.2", "y: seizures in 2 weeks (count); trt; base; age (years); V4; subject; period; lbase, lage: logs, centred; logy = log(y+1) (derived)", "Thall PF, Vail SC (1990). Some covariance models for longitudinal count data with overdispersion. Biometrics 46:657-671", "Seizure counts for epileptics", note = "count data; reference model is linear, on log(y+1)")
## ---------------------------------------------------------------- mlmRev
add(S, "Exam", R("Exam"), "mlmRev 1.0-8", "normexam: normalised exam score; standLRT: standardised reading test; school; student; others: pupil and school descriptors", "Goldstein H, Rasbash J, et al. (1993). A multilevel analysis of school examination results. Oxford Review of Education 19:425-433", "Exam scores from inner London")
add(S, "Hsb82", R("Hsb82"), "mlmRev 1.0-8", "mAch: maths achievement; ses, meanses, cses: socio-economic status, school mean, centred; school; sector; sx; minrty", "Raudenbush SW, Bryk AS (2002). Hierarchical Linear Models, 2nd ed. Sage (High School and Beyond, 1982)", "High School and Beyond 1982")
eg <- R("egsingle"); eg$female <- NULL
add(S, "egsingle", eg, "mlmRev 1.0-8", "math: IRT maths score; year: year minus 3.5; grade; size, lowinc, mobility: school covariates; schoolid; childid", "Bryk AS, Raudenbush SW (1988), Sustaining Effects Study, as distributed with HLM", "US maths achievement growth (three levels)", note = "column female dropped: its coding in mlmRev is disputed")
ea <- R("Early"); ea$tos <- ea$age - 1
add(S, "Early", ea, "mlmRev 1.0-8", "cog: cognitive score; age: years; trt: early intervention; id; tos = age-1 (derived)", "Burchinal MR et al. (1997), in Singer JD, Willett JB (2003). Applied Longitudinal Data Analysis. Oxford", "Early childhood intervention")
## ---------------------------------------------------------------- others
dx <- read.csv("scripts/input/dietox.csv", row.names = 1)
add(S, "dietox", dx, "statsmodels 0.15.0 (statsmodels/regression/tests/results/dietox.csv; originally R geepack)", "Weight: kg; Feed: cumulative feed intake (kg; missing in week 1); Time: weeks; Pig; Evit, Cu: dose; Litter",
    "Lauridsen C, Hojsgaard S, Sorensen MT (1999). Influence of dietary rapeseed oil, vitamin E, and copper on the performance and the antioxidative and oxidative status of pigs. J Animal Science 77:906-916", "Growth curves of pigs")
rt <- fromJSON("scripts/input/rats.json")
rats <- data.frame(rat = rep(seq_len(30), each = 5), day = rep(rt$x, 30), weight = as.vector(t(rt$y)))
stopifnot(nrow(rats) == 150)
add(S, "rats", rats, "BUGS Examples vol. I 'Rats' (values as in the public stan-dev/example-models copy)", "weight: g; day: age in days; rat: id", "Gelfand AE, Hills SE, Racine-Poon A, Smith AFM (1990). Illustration of Bayesian inference in normal data models using Gibbs sampling. JASA 85:972-985", "Weekly weights of 30 young rats")
es <- data.frame(school = LETTERS[1:8], y = c(28, 8, -3, 7, -1, 1, 18, 12), sigma = c(15, 10, 16, 11, 9, 11, 10, 18))
add(S, "eight_schools", es, "typed in; checked against arviz-base 1.3.1 example data centered_eight", "y: estimated coaching effect (SAT points); sigma: its known standard error", "Rubin DB (1981). Estimation in parallel randomized experiments. J Educational Statistics 6:377-401", "Eight schools")
sc <- metadat::dat.konstantopoulos2011; sc <- data.frame(district = as.character(sc$district), school = as.character(sc$school), year = as.numeric(sc$year), yi = as.numeric(sc$yi), vi = as.numeric(sc$vi))
add(S, "school_calendar", sc, "metadat 1.2-0 (dat.konstantopoulos2011)", "yi: standardised mean difference; vi: its known sampling variance; district; school (within district); year", "Cooper H, Valentine JC, Charlton K, Melson A (2003) Review of Educational Research 73:1-52; Konstantopoulos S (2011) Research Synthesis Methods 2:61-76", "Modified school calendars (three-level meta-analysis)")
bc <- metafor::escalc(measure = "RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = metadat::dat.bcg)
add(S, "bcg", data.frame(trial = as.character(bc$trial), year = bc$year, ablat = bc$ablat, alloc = bc$alloc, yi = as.numeric(bc$yi), vi = as.numeric(bc$vi)), "metadat 1.2-0 (dat.bcg), metafor 3.8-1 escalc(measure='RR')", "yi: log risk ratio; vi: its sampling variance; ablat: absolute latitude (degrees); alloc: allocation", "Colditz GA et al. (1994) JAMA 271:698-702", "BCG vaccine trials (meta-regression)")
## ---------------------------------------------------------------- simulated, shared
set.seed(20240501)
ni <- c(1, 1, 2, 2, 3, 3, 4, 5, 8, 12, 20, 40); g <- rep(seq_along(ni), ni)
x <- round(rnorm(length(g)), 3); z <- round(runif(length(g), -1, 1), 3)
b <- cbind(rnorm(12, 0, 1.5), rnorm(12, 0, .8))
y <- round(5 + 1.2 * x - .7 * z + b[g, 1] + b[g, 2] * x + rnorm(length(g), 0, 1), 4)
add(S, "sim_unbalanced", data.frame(y, x, z, g = sprintf("g%02d", g)), "simulated (scripts/00_export_data.R)", "dimensionless", "simulated", "12 groups with 1 to 40 observations")
set.seed(20240502)
G <- 40; m <- 8; g <- rep(seq_len(G), each = m)
x1 <- round(rnorm(G * m), 3); x2 <- round(rnorm(G * m), 3); f <- sample(c("a", "b", "c"), G * m, TRUE)
S2 <- matrix(c(1, .4, .4, .5), 2); b <- matrix(rnorm(G * 2), G) %*% chol(S2); b3 <- rnorm(G, 0, .6)
bf <- matrix(rnorm(G * 3), G) %*% diag(c(.3, .7, 1.1))
y <- round(2 + .5 * x1 - .3 * x2 + c(a = 0, b = .4, c = -.6)[f] + b[g, 1] + b[g, 2] * x1 + b3[g] * x2 + bf[cbind(g, match(f, c("a", "b", "c")))] + rnorm(G * m, 0, .8), 4)
add(S, "sim_multi", data.frame(y, x1, x2, f, g = sprintf("g%02d", g)), "simulated (scripts/00_export_data.R)", "dimensionless", "simulated", "Several random terms on one grouping factor")
set.seed(20240506)
G <- 10; m <- 6; g <- rep(seq_len(G), each = m); x <- rep(0:5, G)
u <- rnorm(G); y <- round(1 + .3 * x + u[g] * (1 + .35 * x) + rnorm(G * m, 0, 1), 4)   # rank-one 2x2 covariance
add(S, "sim_singular", data.frame(y, x, g = sprintf("g%02d", g)), "simulated (scripts/00_export_data.R)", "dimensionless", "simulated", "Random slope perfectly correlated with the intercept")
set.seed(20240504)
G <- 25; tt <- c(0, 1, 2, 4, 7, 11); g <- rep(seq_len(G), each = length(tt)); t0 <- rep(tt, G)
ou <- t(sapply(seq_len(G), function(k) { K <- 1.5^2 * exp(-abs(outer(tt, tt, "-")) / 3); as.vector(t(chol(K)) %*% rnorm(length(tt))) }))
y <- round(10 - .4 * t0 + as.vector(t(ou)) + rnorm(length(g), 0, .6), 4)
add(S, "sim_ou", data.frame(y, t = t0, g = sprintf("g%02d", g)), "simulated (scripts/00_export_data.R)", "dimensionless", "simulated", "Irregular times, Ornstein-Uhlenbeck process plus noise")
set.seed(20240505)
G <- 15; m <- 10; g <- rep(seq_len(G), each = m); px <- round(runif(G * m, 0, 10), 2); py <- round(runif(G * m, 0, 10), 2); x <- round(rnorm(G * m), 3)
sp <- unlist(lapply(seq_len(G), function(k) { id <- g == k; K <- 1.2^2 * exp(-as.matrix(dist(cbind(px, py)[id, ])) / 2.5); as.vector(t(chol(K)) %*% rnorm(m)) }))
y <- round(3 + .8 * x + sp + rnorm(G * m, 0, .5), 4)
add(S, "sim_spatial", data.frame(y, x, px, py, g = sprintf("g%02d", g)), "simulated (scripts/00_export_data.R)", "px, py: coordinates", "simulated", "Exponential spatial correlation within group, plus noise")

for (tree in names(reg)) {
  write_json(reg[[tree]], file.path(tree, "data", "schema.json"), auto_unbox = TRUE, digits = NA, null = "null", na = "null", pretty = TRUE)
  md <- c("# Data sets", "",
    "Comma-separated, first line = column names, UTF-8, no quotes, empty field = missing. Files ending in `.gz` are gzip-compressed CSV.",
    "Dots in the original column names were replaced by underscores. Ordered factors were exported as plain labels.",
    "`schema.json` gives, per file, the type of every column and - for factors - the level order used for the golden values",
    "(numeric order if all labels are numbers, else code-point order; the first level is the reference of treatment contrasts).",
    "For numeric columns it has min, max and sum as a read check. Columns typed `factor` must be treated as categorical even if their labels are numbers.", "",
    "| name | file | rows | columns | units / meaning | original source | read from |", "|---|---|---|---|---|---|---|")
  for (nm in names(reg[[tree]])) { r <- reg[[tree]][[nm]]
    cl <- paste(vapply(names(r$columns), function(v) paste0("`", v, "` (", switch(r$columns[[v]]$type, factor = paste0("factor, ", r$columns[[v]]$n_levels), r$columns[[v]]$type), ")"), ""), collapse = ", ")
    md <- c(md, sprintf("| %s - %s | `%s` | %d | %s | %s | %s | %s |", nm, r$title, r$file, r$rows, cl, paste0(r$units, if (!is.null(r$note)) paste0(". NOTE: ", r$note)), r$source, r$read_from)) }
  md <- c(md, "", "Not included: faraway::psid and MEMSS (neither is packaged in Debian 12; MEMSS holds the nlme data sets above under other names); MASS::oats (identical to `Oats`).",
    "The data sets are facts published in the cited sources and re-distributed with GPL-licensed R packages (lme4, nlme, MASS, mlmRev, geepack); simulated sets are made by `scripts/00_export_data.R`.")
  writeLines(md, file.path(tree, "data", "README.md"))
}
