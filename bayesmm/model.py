"""Model: a specification bound to data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from bayesmm.arguments import TARGET_ACCEPT, check_count, check_seed, check_sigma, is_one_of, shorten
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.design import Design, build_design
from bayesmm.errors import ArgumentError, EstimationError
from bayesmm.fit.estimating import fit_problem, fit_quietly
from bayesmm.fit.fit import Fit
from bayesmm.habits import MODELS, understands_keywords, understands_names
from bayesmm.inference.either import is_posterior
from bayesmm.inside_jax import check_process
from bayesmm.presenting.progress import progress_bar
from bayesmm.problem import Problem
from bayesmm.reml.by_probes import Determinant
from bayesmm.specification.formula import parse_formula
from bayesmm.specification.terms import Specification

if TYPE_CHECKING:  # the posterior's libraries are not loaded by those who only fit, words not before they are read
    from xarray import DataTree

    from bayesmm.bayes.checks.calibration import Calibration
    from bayesmm.bayes.exploring.start import WarmStart
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.bayes.priors.resolution import PriorChoice, ResolvedPriors
    from bayesmm.bayes.programs.parameterisation import Wish
    from bayesmm.bayes.results.marginal_covariance import Summary
    from bayesmm.bayes.sample import Program
    from bayesmm.comparison.identity import Identity
    from bayesmm.plan import PlanDescription
    from bayesmm.plots.canvas import Figure
    from bayesmm.rows.sums import Sums


OF_RESULTS = {
    name: f"that is of a result, such as fit = model.fit(): write fit.{name}" for name in vars(Fit) if name[0] != "_"
}


@understands_names(OF_RESULTS | MODELS)
class Model:
    """A linear mixed model: one formula bound to one data set.

    Parameters
    ----------
    formula : str
        lme4's grammar, for example ``"Reaction ~ Days + (Days | Subject)"``.
    data : data frame, or where rows are
        A pandas, polars or pyarrow table, one row an observation; or what `scan` takes, such as
        ``"visits/*.parquet"`` or a Dask DataFrame, whose rows are read chunk by chunk and never all in memory.
    residual : str, optional
        Covariance of the residuals: correlations within groups, ``"ar1(week | id)"``, standard deviations by strata,
        ``"het(machine)"``, or by a covariate or the fitted value, ``"power(fitted)"``, or products of them,
        ``"us(visit | id) * het(arm)"``; see the page on residuals. By default they are independent and have one
        variance. With it the formula needs no random effects.
    weights : str or array-like, optional
        Prior weights w of the residual variance σ²/w: a column, an expression such as ``"1 / se**2"``, or one number
        for each row of the data.
    sigma : float, optional
        Residual standard deviation (of a row of weight one) where it is known, as in a meta-analysis; estimated by
        default.
    priors : dict or "flat", optional
        Priors for `sample`, by parameter or by kind; weakly informative ones by default, see `Model.priors`.
    missing : {"drop", "raise"}
        Whether rows with missing values are left out (counted and reported) or refused.
    namespace : mapping, optional
        Functions and values that the formula may use by these names.
    relations : mapping of str to data frame, optional
        Known covariance matrices between the levels of grouping factors, ``{"A": A}`` for ``(1 | rel(animal, A))``:
        a table whose rows and columns are named by the levels, or what `relation`, `pedigree`, `phylogeny` or `car`
        return.
    progress : bool, optional
        Whether to show a progress bar while rows are read; by default where a person can see it.

    Raises
    ------
    SpecificationError
        If the formula cannot be read.
    DesignError
        If the data do not fit it.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    >>> round(model.fit().loglik, 3)
    -871.814
    """

    @understands_keywords
    def __init__(
        self,
        formula: str,
        data: Any,
        *,
        residual: str | None = None,
        weights: Any = None,
        sigma: float | None = None,
        priors: PriorChoice = None,
        missing: Literal["drop", "raise"] = "drop",
        namespace: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        progress: bool | None = None,
    ) -> None:
        known_sigma = check_sigma(sigma)
        if priors is not None and not isinstance(priors, (str, Mapping)):
            raise ArgumentError(f"priors is {shorten(priors)}: give a mapping, {{'sd': HalfNormal(10)}}, or 'flat'.")
        how: dict[str, Any] = {
            "weights": weights,
            "missing": missing,
            "namespace": namespace,
            "known_sigma": known_sigma,
            "relations": relations,
        }
        with progress_bar("reading rows", None, progress) as bar:
            specification = parse_formula(formula, residual)
            if _is_elsewhere(data):
                problem = self._sum_rows(specification, data, bar=bar, **how)
            else:
                problem = Problem(build_design(specification, data, **how))
        self._hold(problem, priors)

    def _hold(self, problem: Problem, priors: PriorChoice) -> None:
        self.problem = problem
        self._prior_choice: PriorChoice = priors
        self._fits: dict[tuple[str, str, Determinant], Fit] = {}
        if priors is not None:
            self.priors  # noqa: B018  a wrong prior is an error now, not at the first draw

    @classmethod
    def from_sums(
        cls,
        *sums: Sums | str | os.PathLike[str],
        priors: PriorChoice = None,
        namespace: Mapping[str, Any] | None = None,
    ) -> Model:
        """Make a model of sums over rows that need not be here, such as those of several sites.

        Parameters
        ----------
        *sums : Sums or path
            What ``model.problem.sums`` gives, or files that ``model.problem.save`` has written, of one formula and
            different rows; they are added.
        priors : dict or "flat", optional
            As for a model of rows.
        namespace : mapping, optional
            Functions and values that the formula uses by these names.

        Returns
        -------
        Model
            Whose rows are not in memory: what needs them is refused.

        Raises
        ------
        RowsError
            If the sums are not of one model, or rows are in several of them.
        StorageError
            If a file cannot be read.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> round(bmm.Model.from_sums(model.problem.sums).fit().loglik, 3)
        -871.814
        """
        from bayesmm.rows.sums import add_up

        model = cls.__new__(cls)
        model._hold(Problem.of_sums(add_up(sums, namespace)), priors)
        return model

    @staticmethod
    def _sum_rows(specification: Specification, data: Any, **how: Any) -> Problem:
        from bayesmm.rows.scan import scan
        from bayesmm.rows.summing import sum_source

        return Problem.of_sums(sum_source(specification, scan(data), **how))

    @property
    def design(self) -> Design:
        """Data and specification, as labelled arrays."""
        return self.problem.design

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        return self.design.labels

    @property
    def known_sigma(self) -> float | None:
        """Residual standard deviation (of a row of weight one) where it was given."""
        return self.design.known_sigma

    @property
    def specification(self) -> Specification:
        """What the formula says."""
        return self.design.specification

    @cached_property
    def priors(self) -> ResolvedPriors:
        """Every prior in force, with its scale in units of the data; prints as a table."""
        from bayesmm.bayes.priors.resolution import resolve_priors

        return resolve_priors(self._prior_choice, self.design)

    @cached_property
    def plan(self) -> PlanDescription:
        """How the likelihood eliminates the random effects, and why so; prints as text."""
        from bayesmm.plan import describe_plan

        problem = self.problem
        rows = None if self.design.residual is None else problem.residual_rows
        return describe_plan(problem.plan, self.labels, self.specification.shown, rows)

    @understands_keywords
    def fit(
        self,
        method: Literal["reml", "ml"] = "reml",
        *,
        engine: Literal["numpy", "jax"] = "numpy",
        determinant: Literal["auto", "exact", "stochastic"] = "auto",
        probes: int | None = None,
        seed: int = 0,
        progress: bool | None = None,
    ) -> Fit:
        """Estimate by restricted or full maximum likelihood.

        Parameters
        ----------
        method : {"reml", "ml"}
            Whether the fixed effects are integrated out of the likelihood (REML) or maximised over (ML).
        engine : {"numpy", "jax"}
            What evaluates the likelihood: NumPy, which compiles nothing, or JAX on its default device, for large
            crossed designs on an accelerator. Both run the same code and give the same numbers.
        determinant : {"auto", "exact", "stochastic"}
            How the log-determinant of the random effects is worked out: by a Cholesky factor, which is exact; or by
            conjugate gradients and random probes, where crossed factors leave too large a matrix for one. By default
            exact where it can be. What a stochastic one leaves open is in the summary, and in the column mc_error of
            tables.
        probes : int, optional
            Random vectors of a stochastic determinant, at least 4; by default as many as make the Monte Carlo error of
            all covariance parameters a fiftieth of their standard errors.
        seed : int
            Of the probes.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Fit
            Made once for each combination of arguments.

        Raises
        ------
        EstimationError
            If fixed effects absorb random ones (``y ~ town + (1 | town)``): REML then says nothing of their variance.
            If fixed and random effects explain every row, and the likelihood rises for ever as σ falls.
        DesignError
            If the determinant is to be exact, and crossed factors leave too large a matrix.
        ArgumentError
            If an argument is none of these, or the determinant is to be stochastic where residuals have a covariance or
            levels are related.

        Warns
        -----
        BayesmmWarning
            If the search did not reach a maximum, or grouping factors that divide the rows alike share a variance.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.fit().fixed_effects["estimate"].round(2).tolist()
        [251.41, 10.47]
        >>> round(model.fit("ml").loglik, 2)
        -875.97
        """
        for name, value, choices in (
            ("method", method, ("reml", "ml")),
            ("engine", engine, ("numpy", "jax")),
            ("determinant", determinant, ("auto", "exact", "stochastic")),
        ):
            if not is_one_of(value, choices):
                raise ArgumentError(f"{name} is {value!r}: give {' or '.join(map(repr, choices))}.")
        n_probes = None if probes is None else check_count("probes", probes, 4)
        wanted = Determinant(kind=determinant, probes=n_probes, seed=check_seed(seed))
        known = self._fits.get((method, engine, wanted))
        if known is not None:
            return known
        with progress_bar(f"fitting {self.design.n:,} rows", None, progress):
            fit = fit_problem(self.problem, method, engine, wanted)
        return self._fits.setdefault(
            (method, engine, wanted), fit
        )  # the first one, where several threads asked together

    def marginal_mean(self, rows: Any = None, *, at: Any = None) -> pd.DataFrame:
        """Write or compute E[Y|X] = Xβ + offset.

        Parameters
        ----------
        rows : list, slice or mapping, optional
            Row labels of the data, or a mapping from a grouping factor to levels, ``{"Subject": ["308", "309"]}``.
        at : Fit or mapping of str to float, optional
            Values of the parameters, by the names in ``fit.parameters``; symbols by default.

        Returns
        -------
        DataFrame
            One column, ``mean``: texts, or numbers in units of the response; the index names each row by its levels.

        Raises
        ------
        DesignError
            If a row, a group, a level or a parameter is unknown.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.marginal_mean([0, 1], at=model.fit())["mean"].round(1).tolist()
        [251.4, 261.9]
        """
        from bayesmm.design.words.moments import marginal_mean

        return marginal_mean(self.design, rows, at)

    def marginal_covariance(
        self, rows: Any = None, *, at: Any = None, summary: Summary = "mean", level: float = 0.95
    ) -> pd.DataFrame:
        """Write or compute Var[Y|X] = ZGZ' + σ²W⁻¹, with the blocks that shared levels make.

        Parameters
        ----------
        rows : list, slice or mapping, optional
            Row labels of the data, or a mapping from a grouping factor to levels, ``{"Subject": ["308", "309"]}``; all
            rows by default, where they are few.
        at : Fit, Posterior, or mapping of str to float, optional
            Values of the parameters, by the names in ``fit.parameters``; symbols by default.
        summary : {"mean", "median", "sd", "lower", "upper"}
            What is told of each cell's distribution, of a posterior: 1,000 of its draws at most.
        level : float
            Probability between lower and upper, which have equal tails.

        Returns
        -------
        DataFrame
            Rows and columns named by their levels; texts, or numbers in squared units of the response.

        Raises
        ------
        DesignError
            If a row, a group, a level or a parameter is unknown, or the rows are too many.
        ArgumentError
            If the summary is none of these, or is asked for without a posterior.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.marginal_covariance([0, 1], at=model.fit()).round(0).to_numpy().tolist()
        [[1267.0, 622.0], [622.0, 1321.0]]
        """
        from bayesmm.design.words.moments import marginal_covariance

        if isinstance(getattr(at, "design", None), Design) and is_posterior(at):
            from bayesmm.bayes.results.marginal_covariance import check_summary, summarise_covariance

            check_summary(summary)
            return summarise_covariance(self.design, at, rows, summary, level)
        if not is_one_of(summary, ("mean",)):
            raise ArgumentError(f"summary is {shorten(summary)}, which is of draws: give a posterior, at=posterior.")
        return marginal_covariance(self.design, rows, at)

    @cached_property
    def _warm_start(self) -> WarmStart:
        return _start_at(self.problem, self.fit)

    def program(
        self,
        kind: Program = "auto",
        *,
        parameterisation: Wish = "auto",
    ) -> tuple[Callable, Any]:
        """Return a NumPyro model and its argument, to print, to run with any kernel, or to build upon.

        Parameters
        ----------
        kind : {"auto", "marginal", "conditional"}
            Which of the two programs that `sample` runs; by default the one that it runs by default.
        parameterisation : {"auto", "centred", "noncentred"}, number or mapping
            Of the random effects in the conditional program, as in `sample`.

        Returns
        -------
        program : callable
            A NumPyro model of one argument; prints as its declarations.
        data : pytree of arrays
            That argument.

        Notes
        -----
        The arrays are doubles: use the program inside ``with jax.enable_x64(True)``.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> program, data = model.program()
        >>> sorted(line.split(" ~ ")[0].strip() for line in str(program).splitlines() if " ~ " in line)[:2]
        ['at_means_sd_Subject[0, 1]', 'cholesky_Subject']
        """
        from bayesmm.bayes.sample import bind_program

        return bind_program(kind, self.problem, self.priors, self._warm_start, parameterisation)

    @understands_keywords
    def sample(
        self,
        *,
        draws: int = 1000,
        tune: int = 1000,
        chains: int = 4,
        seed: int = 0,
        method: Literal["nuts", "importance", "quadrature"] = "nuts",
        program: Program = "auto",
        parameterisation: Wish = "auto",
        random_effects: Literal["auto", "draws", "moments"] | None = "auto",
        target_accept: float = TARGET_ACCEPT,
        max_tree_depth: int = 10,
        progress: bool | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Posterior:
        """Draw from the posterior.

        Parameters
        ----------
        draws, tune, chains : int
            Draws kept per chain, iterations of warm-up before them, number of chains.
        seed : int
            The same seed gives the same draws.
        method : {"nuts", "importance", "quadrature"}
            NUTS, started at the REML estimate; or independent draws by Pareto-smoothed importance sampling, for up to
            some ten standard deviations and correlations, with NUTS where its weights cannot be trusted; or
            quadrature, for up to four of them: tables without Monte Carlo error, and independent draws. The latter two
            have no warm-up and explore the marginal program.
        program : {"auto", "marginal", "conditional"}
            Whether random effects (and coefficients of flat or normal prior) are integrated out and drawn afterwards
            from their exact conditional distribution, or are sampled one and all. "auto" integrates them out, but where
            the residual variance changes with the fitted value, and they cannot be.
        parameterisation : {"auto", "centred", "noncentred"}, number or mapping
            Of the random effects in the conditional program: a degree of centring from 0 (non-centred) to 1 (centred),
            or a mapping from grouping factors to any of these, ``{"Subject": 0.5, "Item": "centred"}``. "auto" decides
            by how much the data say about a level.
        random_effects : {"auto", "draws", "moments"} or None
            Of the marginal program: draw the random effects; compute only their posterior means and standard
            deviations, averaged over the draws of everything else, which takes no memory; or leave them out. "auto"
            draws them unless they are very many.
        target_accept : float
            Acceptance probability that the step size is tuned to; raise it when there are divergences.
        max_tree_depth : int
            Doublings of a trajectory at most.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.
        checkpoint : path, optional
            A folder, ``"run.zarr"``, that the run is written to as it goes on. If the process is stopped, the same call
            goes on from there and gives the draws of an uninterrupted run, to the bit; a finished run is read.

        Returns
        -------
        Posterior
            Of the draws so far, if the run is interrupted (Ctrl-C) after warm-up; after the last draw, of all draws,
            without random effects and what else can be computed when it is asked for.

        Raises
        ------
        StorageError
            If the checkpoint is of another model, data, priors or settings, is being written by another process, is
            damaged, or cannot be written.

        Warns
        -----
        BayesmmWarning
            If the draws should not be trusted as they are, or are fewer than asked for.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (1 | Subject)", bmm.datasets.load("sleepstudy"))
        >>> posterior = model.sample(method="quadrature", seed=1, progress=False)
        >>> posterior.parameters.index.tolist()
        ['Intercept', 'Days', 'sd(Intercept | Subject)', 'sigma']
        """
        check_process()
        from bayesmm.bayes.sample import sample

        return sample(
            problem=self.problem,
            priors=self.priors,
            fit=self._warm_start,
            draws=draws,
            tune=tune,
            chains=chains,
            seed=seed,
            method=method,
            program=program,
            parameterisation=parameterisation,
            random_effects=random_effects,
            target_accept=target_accept,
            max_tree_depth=max_tree_depth,
            progress=progress,
            checkpoint=checkpoint,
        )

    def prior_predictive(self, draws: int = 1000, *, seed: int = 0, progress: bool | None = None) -> DataTree:
        """Draw parameters, random effects and responses from the priors, before the data are looked at.

        Parameters
        ----------
        draws : int
            How many.
        seed : int
            The same seed gives the same draws.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        xarray.DataTree
            For ArviZ: ``prior``, with the variables, dims and coordinates of a posterior; ``prior_predictive``, with
            ``y`` for the rows of the data, their offset and weights; ``observed_data`` and ``constant_data``.

        Raises
        ------
        PriorError
            If a prior in force is improper, or too wide to be drawn from.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> model.prior_predictive(draws=50, seed=1)["prior_predictive"]["y"].sizes["obs"]
        180
        """
        from bayesmm.bayes.priors.prior_simulation import simulate_prior
        from bayesmm.bayes.results.tree import build_prior_tree

        with progress_bar("drawing from the priors", None, progress):
            drawn = simulate_prior(self.design, self.priors, draws=draws, seed=seed)
            return build_prior_tree(drawn, self.design, {"seed": int(seed)})

    def plot_priors(self) -> Figure:
        """Draw the density of every prior in force, in units of the data.

        Returns
        -------
        matplotlib.figure.Figure
            One small panel for each row of the parameter table, with a mark at the REML estimate where the model has
            been fitted by REML. Improper priors are dashed.

        Raises
        ------
        BayesmmError
            If matplotlib is not installed.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> len(model.plot_priors().axes)
        6
        """
        from bayesmm.bayes.priors.prior_curves import build_curves
        from bayesmm.plots.priors import plot_priors

        fit = next((self._fits[key] for key in self._fits if key[0] == "reml"), None)
        estimates = {} if fit is None else fit.parameters["estimate"].to_dict()
        return plot_priors(build_curves(self.priors, self.design, estimates))

    def check_identity(self, *, progress: bool | None = None) -> Identity:
        """Show in numbers that REML is the mode of the posterior under flat priors, and that other scales move it.

        Parameters
        ----------
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Identity
            Prints as a report; ``points``, ``slopes`` and ``modes`` hold what it says.

        Raises
        ------
        PriorError
            If flat priors leave the posterior improper: a grouping factor has fewer than three levels.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> print(str(model.check_identity()).splitlines()[0])
        REML as a posterior mode: Reaction ~ Days + (Days | Subject)
        """
        from bayesmm.comparison.identity import check_identity

        with progress_bar("evaluating the posterior under flat priors", None, progress):
            return check_identity(self.fit(progress=False))

    def calibrate(
        self,
        simulations: int = 200,
        *,
        draws: int = 250,
        tune: int = 300,
        chains: int = 4,
        seed: int = 0,
        method: Literal["nuts", "importance", "quadrature"] = "nuts",
        program: Program = "auto",
        target_accept: float = TARGET_ACCEPT,
        progress: bool | None = None,
    ) -> Calibration:
        """Check by simulation that posteriors under these priors are what they should be.

        Parameters and responses are drawn from the model, each response's posterior is sampled, and the true values are
        ranked among its draws. Over many simulations the ranks are uniform, unless something is wrong.

        Parameters
        ----------
        simulations : int
            How many responses; at least 10, some hundreds to see small errors.
        draws, tune, chains, method, program, target_accept
            How each posterior is sampled; see `sample`. Where fewer than 199 draws are effective, draws are four or
            sixteen times as many.
        seed : int
            The same seed gives the same simulations and draws.
        progress : bool, optional
            Whether to show a progress bar; by default where a person can see it.

        Returns
        -------
        Calibration
            Ranks, p-values of their uniformity, and a verdict; of the simulations so far, if the run is interrupted
            (Ctrl-C) after ten of them.

        Raises
        ------
        PriorError
            If a prior is improper, so that nothing can be drawn from it.

        Examples
        --------
        >>> import bayesmm as bmm
        >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
        >>> print(model.calibrate(simulations=200, seed=1))  # doctest: +SKIP
        """
        check_process()
        from bayesmm.bayes.checks.calibration import calibrate
        from bayesmm.bayes.sample import choose_program, sample

        def sample_again(problem: Problem, own_seed: int, times: int) -> Posterior:
            return sample(
                problem=problem,
                priors=self.priors,
                fit=_start_at(problem, lambda: fit_quietly(problem, "reml")),
                draws=draws if times == 1 else times * draws,
                tune=tune,
                chains=chains,
                seed=own_seed,
                method=method,
                program=program,
                random_effects="draws",
                target_accept=target_accept,
                progress=False,
                pointwise_limit=0,
                interruptible=False,
                warn=lambda text: None,  # what cannot be trusted is counted, and told in the report
            )

        way = f"{choose_program(program, self.problem)} program"
        way += "" if is_one_of(method, ("nuts",)) else f", {method}"
        return calibrate(
            self.problem,
            self.priors,
            sample_again,
            simulations=simulations,
            seed=seed,
            way=way,
            progress=progress,
        )

    def __str__(self) -> str:
        from bayesmm.design.words.describe import describe

        return describe(self.design)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from bayesmm.design.words.describe import build_report

        return build_report(self.design)._repr_html_()


def _start_at(problem: Problem, fit: Callable[[], Fit]) -> WarmStart:
    """Start a sampler at a fit, or at least squares where there is none."""
    from bayesmm.bayes.exploring.start import WarmStart, cold_start

    try:
        start = fit().estimate
    except EstimationError:
        return cold_start(problem.design)
    return WarmStart(
        sigma=start.sigma,
        factors=start.factors,
        beta=start.beta,
        beta_covariance=start.beta_covariance,
        effects=start.modes,
        effect_covariances=start.mode_covariances,
        elsewhere=tuple((other.sigma, other.factors) for other in start.other_maxima),
        residual=None if start.residual is None else start.residual.public,
    )


def _is_elsewhere(data: Any) -> bool:
    """Whether rows are read chunk by chunk: not those of pandas, for which what knows the others is not loaded."""
    if isinstance(data, pd.DataFrame):
        return False
    from bayesmm.rows.scan import is_elsewhere

    return is_elsewhere(data)
