"""Words of lme4, nlme, brms, statsmodels and PyMC, and what is written here instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import isfunction, signature
from typing import Any

from bayesmm.errors import KeywordError

_IN_FORMULA = "random effects are part of the formula: 'y ~ x + (x | group)'"
_METHOD = "model.fit(method='reml') is restricted, model.fit(method='ml') full maximum likelihood"
_SEED = "write seed=1"
_GAUSSIAN = "responses are normal given the effects; for other families use lme4, glmmTMB or brms"
_TUNE = "write draws= for the iterations of a chain that are kept, and tune= for those of the warm-up before"
_PRIORS = "write priors={'sd': bmm.priors.HalfNormal(10)} when the model is made"

KEYWORDS = {
    **dict.fromkeys(("REML", "reml"), _METHOD),
    **dict.fromkeys(("groups", "re_formula", "vc_formula", "random", "group"), _IN_FORMULA),
    **dict.fromkeys(("prior", "set_prior"), _PRIORS),
    **dict.fromkeys(("family", "link"), _GAUSSIAN),
    **dict.fromkeys(("iter", "warmup", "samples", "num_samples", "num_warmup", "n_samples", "burn_in"), _TUNE),
    **dict.fromkeys(("random_seed", "random_state", "rng_key", "rng"), _SEED),
    **dict.fromkeys(("cores", "n_jobs", "num_cores", "parallel_chains"), "chains run beside each other by themselves"),
    **dict.fromkeys(("num_chains", "n_chains"), "write chains=4"),
    **dict.fromkeys(("adapt_delta", "control"), "write target_accept=0.95 for adapt_delta, max_tree_depth= likewise"),
    **dict.fromkeys(("progressbar", "progress_bar", "refresh", "verbose"), "write progress=False"),
    **dict.fromkeys(("subset", "where"), "choose the rows in the data: data[data['x'] > 0]"),
    **dict.fromkeys(("na_action", "na.action"), "write missing='drop' or missing='raise'"),
    "weight": "write weights=",
    "contrasts": "write C(x, Sum) or C(x, Treatment('a')) in the formula",
    "sample_weight": "write weights=",
    "newdata": "write new_data=",
    "exog": "write new_data=",
    **dict.fromkeys(("se", "se_fit"), "write interval='confidence', which has a standard error"),
    "include_random": "write random='none' to leave the random effects out",
    **dict.fromkeys(
        ("maxiter", "max_iter", "optimizer", "optimiser", "start", "tol", "maxfun"),
        "the search ends by itself where no step gains more; print(fit.convergence) says how",
    ),
    **dict.fromkeys(
        ("nuts_sampler", "inference_method", "algorithm", "sampler"),
        "write method='nuts', 'importance' or 'quadrature'",
    ),
    **dict.fromkeys(
        ("hdi_prob", "ci_prob", "prob", "conf_level", "alpha", "ci"), "write level=0.95; intervals have equal tails"
    ),
    **dict.fromkeys(("nsim", "nboot", "nreps", "replicates", "n_boot"), "write n="),
    **dict.fromkeys(("condVar", "condvar"), "the table has their standard errors, std_error, as it is"),
    "pointwise": "what it returns has elpd_i and pareto_k of each row",
    "ddf": "write df='satterthwaite' or df='kenward-roger'",
    "allow_new_levels": "write new_levels='population' or new_levels='sample'",
}

OF_FUNCTIONS = {  # where a word means another thing
    "predict": dict.fromkeys(("re_formula", "re_form"), "write random='none' to leave the random effects out"),
}

RESULTS = {
    "plot": "write plot_groups(), plot_effects() or plot_residuals(); bmm.compare(fit, posterior).plot()",
    **dict.fromkeys(("ranef", "re", "random_effects_cov"), "write random_effects()"),
    **dict.fromkeys(("fixef", "params", "fe_params", "beta", "coefs"), "write fixed_effects['estimate']"),
    "bse": "write fixed_effects['std_error']",
    "tvalues": "write fixed_effects['statistic']",
    "pvalues": "write fixed_effects['p_value']",
    **dict.fromkeys(("VarCorr", "varcorr", "cov_re", "vcomp"), "write parameters, or parameter_table(level=0.9)"),
    "scale": "write sigma**2",
    **dict.fromkeys(("logLik", "llf", "loglikelihood", "log_likelihood"), "write loglik"),
    **dict.fromkeys(("deviance", "REMLcrit"), "write -2 * loglik"),
    **dict.fromkeys(("AIC", "BIC"), "write aic or bic"),
    **dict.fromkeys(
        ("confint", "conf_int", "intervals"), "write parameter_table(level=0.95), or profile().intervals() for profiles"
    ),
    **dict.fromkeys(("resid", "residual"), "write residuals()"),
    **dict.fromkeys(("fittedvalues", "fitted_values"), "write fitted, or predict() for a table"),
    **dict.fromkeys(("isSingular", "is_converged", "converged"), "write is_singular, status and convergence()"),
    "emmeans": "write bmm.emmeans(fit, 'x')",
    **dict.fromkeys(("loo", "waic"), "that is of a posterior: model.sample(seed=1).loo()"),
}

POSTERIORS = {
    "plot": "write plot_priors(), plot_groups() or plot_predictive(); arviz.plot_dist(posterior.data) draws densities",
    **dict.fromkeys(("to_dataframe", "as_draws_df", "to_frame"), "write data['posterior'].to_dataset().to_dataframe()"),
    **dict.fromkeys(("ranef", "re"), "write random_effects()"),
    **dict.fromkeys(("fixef", "params", "coef", "fixed_effects"), "write parameters, a table of all"),
    **dict.fromkeys(
        ("posterior", "idata", "trace", "inference_data", "to_inference_data"), "write data, a tree for ArviZ"
    ),
    **dict.fromkeys(("waic", "kfold"), "write loo()"),
    **dict.fromkeys(("pp_check", "plot_ppc"), "write plot_predictive()"),
    **dict.fromkeys(("plot_trace", "mcmc_plot"), "write arviz.plot_trace_dist(posterior.data)"),
    **dict.fromkeys(
        ("posterior_predict", "posterior_epred", "sample_posterior_predictive"), "write posterior_predictive()"
    ),
    **dict.fromkeys(("rhat", "r_hat", "ess", "divergences"), "write diagnostics, or parameters with a column for each"),
    **dict.fromkeys(("residuals", "resid", "fitted"), "write augment(), which has columns .fitted and .residual"),
    **dict.fromkeys(("hypothesis", "test"), "count draws: (posterior.draws('beta')[..., 1] > 0).mean()"),
    **dict.fromkeys(("loglik", "logLik"), "write log_likelihood(), of every draw and row"),
}

MODELS = {
    **dict.fromkeys(("loo", "diagnostics", "posterior_predictive"), "sample first: posterior = model.sample(seed=1)"),
    **dict.fromkeys(("posterior", "trace", "idata", "nuts", "mcmc", "run"), "write model.sample(seed=1)"),
    **dict.fromkeys(("fitted", "result", "optimize", "reml"), "write model.fit()"),
    "formula": "write model.specification.shown",
    "data": "write model.design.frame",
}

FUNCTIONS = {
    **dict.fromkeys(("lmer", "lme", "mixedlm", "MixedLM", "LMM", "lm", "lmm"), "write bmm.Model(formula, data).fit()"),
    **dict.fromkeys(("brm", "stan_lmer", "stan_glmer"), "write bmm.Model(formula, data).sample(seed=1)"),
    **dict.fromkeys(("glmer", "glmmTMB", "glm"), f"{_GAUSSIAN}; of a normal response write bmm.Model(formula, data)"),
    **dict.fromkeys(("fit", "sample"), "write bmm.Model(formula, data), and then .fit() or .sample(seed=1)"),
    **dict.fromkeys(("ranef",), "write fit.random_effects()"),
    **dict.fromkeys(("fixef",), "write fit.fixed_effects"),
    **dict.fromkeys(("VarCorr",), "write fit.parameters"),
    **dict.fromkeys(("confint",), "write fit.parameter_table(level=0.95) or fit.profile().intervals()"),
    **dict.fromkeys(("summary",), "write fit.summary(), or print(fit)"),
    **dict.fromkeys(("predict", "residuals", "simulate_response"), "that is a method of a fit and of a posterior"),
    **dict.fromkeys(("loo", "waic"), "write posterior.loo()"),
    **dict.fromkeys(("contrasts", "marginal_means"), "write bmm.emmeans(fit, 'x'), and its contrasts()"),
    **dict.fromkeys(("isSingular",), "write fit.is_singular"),
    **dict.fromkeys(("set_prior", "prior", "Normal", "HalfNormal", "StudentT"), "they are in bmm.priors"),
    **dict.fromkeys(("load_dataset", "data", "sleepstudy"), "write bmm.datasets.load('sleepstudy')"),
    **dict.fromkeys(("read", "read_fit"), "write bmm.load('fit.nc')"),
}


def understands_keywords[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Let a function answer keywords of other programs with what to write instead.

    Raises
    ------
    KeywordError
        By the function that is returned, for a keyword in `KEYWORDS` that it does not take.
    """
    taken = signature(function).parameters
    name = "Model" if function.__name__ == "__init__" else function.__qualname__
    known = KEYWORDS | OF_FUNCTIONS.get(function.__name__, {})

    @wraps(function)
    def answering(*args: P.args, **kwargs: P.kwargs) -> R:
        for keyword in kwargs:
            if keyword not in taken and keyword in known:
                raise KeywordError(f"{name} takes no {keyword}=: {known[keyword]}.")
        return function(*args, **kwargs)

    return answering


def understands_names[T: type](words: Mapping[str, str]) -> Callable[[T], T]:
    """Let objects of a class answer names of other programs, and their methods keywords, with what to write instead.

    Parameters
    ----------
    words : mapping of str to str
        What to write, by the name.
    """

    def taught(kind: T) -> T:
        def answer(self: Any, name: str) -> Any:
            if name in words:
                raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}: {words[name]}.")
            return object.__getattribute__(self, name)  # raises what Python raises, also of a property that failed

        for name, function in list(vars(kind).items()):
            if isfunction(function) and name[0] != "_" and not hasattr(function, "__wrapped__"):
                setattr(kind, name, understands_keywords(function))
        kind.__getattr__ = (
            answer  # where a checker of types does not see it: it takes the names of a class by themselves
        )
        return kind

    return taught
