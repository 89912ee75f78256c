"""Reference entries whose residuals have a covariance: formula, residual=, and how nlme's parameters are called."""

from __future__ import annotations

ORTHODONT, RIS = "distance ~ age * Sex", "distance ~ I(age - 11) * Sex"
SLEEP = "Reaction ~ Days"

# (file, id) -> (formula, residual)
ENTRIES: dict[tuple[str, str], tuple[str, str]] = {
    ("nlme_Orthodont", "gls_varident_sex_reml"): (ORTHODONT, "het(Sex)"),
    ("nlme_Orthodont", "gls_cs_reml"): (ORTHODONT, "homcs(age | Subject)"),
    ("nlme_Orthodont", "gls_cs_ml"): (ORTHODONT, "cs(age | Subject, hom=True)"),
    ("nlme_Orthodont", "gls_hcs_reml"): (ORTHODONT, "cs(age | Subject)"),
    ("nlme_Orthodont", "gls_ar1_reml"): (ORTHODONT, "ar1(occasion | Subject)"),
    ("nlme_Orthodont", "gls_ar1_ml"): (ORTHODONT, "ar1(occasion | Subject)"),
    ("nlme_Orthodont", "gls_har1_reml"): (ORTHODONT, "hetar1(occasion | Subject)"),
    ("nlme_Orthodont", "gls_un_reml"): (ORTHODONT, "us(age | Subject)"),
    ("nlme_Orthodont", "gls_un_ml"): (ORTHODONT, "us(age | Subject)"),
    ("nlme_Orthodont", "lme_ri_varident_reml"): (f"{RIS} + (1 | Subject)", "het(Sex)"),
    ("nlme_Orthodont", "lme_ris_varident_ml"): (f"{RIS} + (I(age - 11) | Subject)", "het(Sex)"),
    ("nlme_Orthodont", "lme_ri_ar1_reml"): (f"{RIS} + (1 | Subject)", "ar1(occasion | Subject)"),
    ("nlme_sleepstudy", "lme_ri_ar1_reml"): (f"{SLEEP} + (1 | Subject)", "ar1(Days | Subject)"),
    ("nlme_sleepstudy", "lme_ri_ar1_ml"): (f"{SLEEP} + (1 | Subject)", "ar1(Days | Subject)"),
    ("nlme_sleepstudy", "gls_ar1_reml"): (SLEEP, "ar1(Days | Subject)"),
    ("nlme_sleepstudy", "gls_cs_reml"): (SLEEP, "homcs(Days | Subject)"),
    ("nlme_sleepstudy", "lme_ris_varexp_reml"): (f"{SLEEP} + (Days | Subject)", "exponential(Days)"),
    ("nlme_sleepstudy_ext", "lme_ri_ar1_gaps_reml"): (f"{SLEEP} + (1 | Subject)", "ar1(Days | Subject)"),
    ("nlme_sleepstudy_ext", "gls_car1_reml"): (SLEEP, "car1(Days | Subject)"),
    ("nlme_sim_ou", "gls_car1_reml"): ("y ~ t", "car1(t | g)"),
    ("nlme_sim_ou", "lme_ri_car1_reml"): ("y ~ t + (1 | g)", "exp(t | g)"),
    ("nlme_RatPupWeight", "lme_hetero_treatment_reml"): (
        "weight ~ Treatment * sex + Lsize + (1 | Litter)",
        "het(Treatment)",
    ),
    ("nlme_RatPupWeight", "lme_hetero_treatment_ml"): (
        "weight ~ Treatment + sex + Lsize + (1 | Litter)",
        "het(Treatment)",
    ),
    ("glmmTMB_Orthodont", "ri_dispsex_reml"): (f"{RIS} + (1 | Subject)", "het(Sex)"),
    ("glmmTMB_Orthodont", "un_reml"): (ORTHODONT, "us(age | Subject)"),
    ("glmmTMB_Orthodont", "hcs_reml"): (ORTHODONT, "cs(age | Subject)"),
    ("glmmTMB_Orthodont", "ar1_reml"): (ORTHODONT, "ar1(occasion | Subject)"),
    ("glmmTMB_Orthodont", "toep_reml"): (ORTHODONT, "toep(age | Subject)"),
    ("glmmTMB_Orthodont", "diag_reml"): (ORTHODONT, "het(age)"),
    ("glmmTMB_sleepstudy_ext", "disp_block_ml"): (f"{SLEEP} + (Days | Subject)", "het(block)"),
}
