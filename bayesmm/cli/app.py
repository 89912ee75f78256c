"""The commands.

Everything heavy is imported inside the command that needs it: help, the version and the list of data sets come at once,
and point estimates do not wait for the import of a sampler.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from bayesmm.cli import options
from bayesmm.cli.encoding import is_universal
from bayesmm.cli.messages import plain_errors, remember_options, show, stage
from bayesmm.errors import ArgumentError
from bayesmm.version import __version__

EXIT_CODES = (
    "Exit codes: 0 done; 1 done, but the estimates or draws should not be used as they are; 2 a mistake in the "
    "command, the formula or the data; 3 not done: memory that does not suffice, or an error of bayesmm's own."
)

app = typer.Typer(
    help="Linear mixed models: one formula, REML and NUTS side by side.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bayesmm {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""
    remember_options(context)


@app.command(epilog=EXIT_CODES)
@options.reads_files
def fit(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    method: options.Method = "reml",
    df: options.Df = "satterthwaite",
    information: options.Information = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    random_effects: options.RandomEffects = False,
    output: options.FitOutput = None,
    as_json: options.Json = False,
) -> None:
    """Estimate by REML or maximum likelihood."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import RESULTS, TABLES, check_outputs, deliver

        paths = check_outputs(output, (*TABLES, *RESULTS))
        with stage("fitting"):
            model = build_model(
                formula, data, reading, weights=weights, sigma=sigma, missing=missing_rows, residual=residual
            )
            estimates = model.fit(method, progress=False)
        from bayesmm.cli.outcomes import fit_outcome

        outcome = fit_outcome(model, estimates, data, df, information, level)
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=random_effects))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def anova(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    type: options.Type = "3",
    method: options.Method = "reml",
    df: options.Df = "satterthwaite",
    information: options.Information = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    output: options.TestOutput = None,
    as_json: options.Json = False,
) -> None:
    """Test each term of the fixed effects by F."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import TABLES, check_outputs, deliver

        paths = check_outputs(output, TABLES)
        with stage("fitting"):
            model = build_model(
                formula, data, reading, weights=weights, sigma=sigma, missing=missing_rows, residual=residual
            )
            estimates = model.fit(method, progress=False)
        from bayesmm.cli.outcomes import anova_outcome

        outcome = anova_outcome(model, estimates, data, int(type), df, information)
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=False))


@app.command("test", epilog=EXIT_CODES)
@options.reads_files
def linear_test(
    reading: Any,
    formula: options.Formula,
    hypotheses: options.Hypotheses,
    data: options.Data,
    method: options.Method = "reml",
    df: options.Df = "satterthwaite",
    information: options.Information = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    output: options.TestOutput = None,
    as_json: options.Json = False,
) -> None:
    """Test linear hypotheses about the fixed effects."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import TABLES, check_outputs, deliver

        paths = check_outputs(output, TABLES)
        with stage("fitting"):
            model = build_model(
                formula, data, reading, weights=weights, sigma=sigma, missing=missing_rows, residual=residual
            )
            estimates = model.fit(method, progress=False)
        from bayesmm.cli.outcomes import linear_test_outcome

        outcome = linear_test_outcome(model, estimates, data, hypotheses, df, information, level)
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=False))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def sample(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    draws: options.Draws = 1000,
    tune: options.Tune = 1000,
    chains: options.Chains = 4,
    seed: options.Seed = 0,
    program: options.Program = "auto",
    by: options.By = "nuts",
    checkpoint: options.Checkpoint = None,
    priors: options.Priors = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    residual: options.Residual = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    random_effects: options.RandomEffects = False,
    output: options.SampleOutput = None,
    as_json: options.Json = False,
) -> None:
    """Explore the posterior."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import RESULTS, TABLES, check_outputs, deliver

        paths = check_outputs(output, (*TABLES, *RESULTS))
        with stage("reading"):
            model = build_model(
                formula,
                data,
                reading,
                weights=weights,
                sigma=sigma,
                missing=missing_rows,
                residual=residual,
                priors=priors,
                compiles=True,
            )
        posterior = model.sample(
            draws=draws, tune=tune, chains=chains, seed=seed, method=by, program=program, checkpoint=checkpoint
        )
        from bayesmm.cli.outcomes import sample_outcome

        outcome = sample_outcome(model, posterior, data, level)
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=random_effects))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def compare(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    method: options.Method = "reml",
    df: options.Df = "satterthwaite",
    information: options.Information = None,
    draws: options.Draws = 1000,
    tune: options.Tune = 1000,
    chains: options.Chains = 4,
    seed: options.Seed = 0,
    program: options.Program = "auto",
    by: options.By = "nuts",
    checkpoint: options.Checkpoint = None,
    priors: options.Priors = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    residual: options.Residual = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    random_effects: options.RandomEffects = False,
    output: options.CompareOutput = None,
    as_json: options.Json = False,
) -> None:
    """Put point estimates and the posterior of one model side by side."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import FIGURES, RESULTS, TABLES, check_outputs, deliver

        paths = check_outputs(output, (*TABLES, *RESULTS, *FIGURES))
        with stage("fitting"):
            model = build_model(
                formula,
                data,
                reading,
                weights=weights,
                sigma=sigma,
                missing=missing_rows,
                residual=residual,
                priors=priors,
                compiles=True,
            )
            estimates = model.fit(method, progress=False)
        posterior = model.sample(
            draws=draws, tune=tune, chains=chains, seed=seed, method=by, program=program, checkpoint=checkpoint
        )
        from bayesmm.cli.outcomes import compare_outcome
        from bayesmm.comparison.comparison import compare

        outcome = compare_outcome(
            model, compare(estimates, posterior, df=df, information=information, level=level), data
        )
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=random_effects))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def check(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    method: options.Method = "reml",
    sets: options.Sets = 499,
    seed: options.CheckSeed = 1,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    output: options.CheckOutput = None,
    as_json: options.Json = False,
) -> None:
    """Look at a fit from all sides: what to check, and what to do, before its numbers are read."""
    with plain_errors():
        from bayesmm.cli.models import build_model, rows_of
        from bayesmm.cli.outputs import TABLES, check_outputs, deliver

        paths = check_outputs(output, TABLES)
        with stage("fitting"):
            model = build_model(
                formula, data, reading, residual=residual, weights=weights, sigma=sigma, missing=missing_rows
            )
            estimates = model.fit(method, progress=False)
        with stage("checking"):
            checked = estimates.check(n=sets, seed=seed, rows=rows_of(model, data, reading))
        from bayesmm.cli.outcomes import check_outcome

        outcome = check_outcome(model, estimates, checked, data)
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=False))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def report(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    output: options.ReportOutput = "report.html",
    with_posterior: options.AsideFit = True,
    explorer: options.Explorer = True,
    title: options.Title = None,
    method: options.Method = "reml",
    draws: options.Draws = 1000,
    tune: options.Tune = 1000,
    chains: options.Chains = 4,
    seed: options.Seed = 0,
    program: options.Program = "auto",
    by: options.By = "nuts",
    priors: options.Priors = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    as_json: options.Json = False,
) -> None:
    """Put a whole analysis on one page for a browser: model, data, estimates, figures, checks, code."""
    with plain_errors():
        from bayesmm.cli.models import build_model, rows_of
        from bayesmm.cli.outputs import PAGES, check_outputs, deliver

        (path,) = check_outputs([output], PAGES)
        with stage("fitting"):
            model = build_model(
                formula,
                data,
                reading,
                residual=residual,
                weights=weights,
                sigma=sigma,
                missing=missing_rows,
                priors=priors,
                compiles=with_posterior,
            )
            estimates = model.fit(method, progress=False)
        sampler = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "method": by, "program": program}
        posterior = model.sample(**sampler) if with_posterior else None
        from bayesmm.cli.outcomes import name_source, report_outcome
        from bayesmm.reporting.report import report

        with stage("drawing"):
            page = report(
                estimates,
                posterior,
                path=path,
                data=name_source(data, reading),
                title=title,
                explorer=explorer,
                level=level,
                rows=rows_of(model, data, reading),
            )
        outcome = report_outcome(model, estimates, posterior, page, output, data, level)
        raise typer.Exit(deliver(outcome, [], as_json=as_json, random_effects=False))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def effects(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    group: options.Group = None,
    effect: options.Effect = None,
    uncertainty: options.Uncertainty = None,
    bootstrap: options.Bootstrap = None,
    with_posterior: options.WithPosterior = False,
    method: options.Method = "reml",
    draws: options.Draws = 1000,
    tune: options.Tune = 1000,
    chains: options.Chains = 4,
    seed: options.Seed = 1,
    by: options.By = "nuts",
    priors: options.Priors = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    level: options.Level = 0.95,
    output: options.EffectsOutput = None,
    as_json: options.Json = False,
) -> None:
    """Say how sure one is of each level's effects, by every layer of uncertainty."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import FIGURES, TABLES, check_outputs, deliver

        paths = check_outputs(output, (*TABLES, *FIGURES))
        with stage("fitting"):
            model = build_model(
                formula,
                data,
                reading,
                residual=residual,
                weights=weights,
                sigma=sigma,
                missing=missing_rows,
                priors=priors,
                compiles=with_posterior,
            )
            estimates = model.fit(method, progress=False)
        from bayesmm.cli.outcomes import check_effects, effects_outcome

        check_effects(estimates, group, effect)  # before anything takes long
        sampler = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "method": by}
        posterior = model.sample(**sampler) if with_posterior else None
        outcome = effects_outcome(
            model, estimates, posterior, data, group, effect, uncertainty, bootstrap=bootstrap, seed=seed, level=level
        )
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=uncertainty is not None))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def power(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    parameters: options.Parameters = None,
    fitted: options.Fitted = False,
    test: options.Test = None,
    along: options.Along = None,
    within: options.Within = None,
    simulations: options.Simulations = 1000,
    alpha: options.Alpha = 0.05,
    df: options.Df = "satterthwaite",
    method: options.Method = "reml",
    aim: options.Aims = None,
    interval: options.IntervalKind = "wald",
    seed: options.SimulationSeed = 0,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    output: options.PowerOutput = None,
    as_json: options.Json = False,
) -> None:
    """Simulate designs: how often effects are found, and how precisely, as the data grow."""
    with plain_errors():
        from bayesmm.cli.assignments import read_numbers, read_sizes
        from bayesmm.cli.data import read_data
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import FIGURES, TABLES, check_outputs, deliver

        paths = check_outputs(output, (*TABLES, *FIGURES))
        truth, aims = read_numbers("--parameters", parameters), read_numbers("--aim", aim)
        sizes, rows = read_sizes("--along", along), read_sizes("--within", within)
        wanted = {
            "test": test or None,
            "along": sizes,
            "within": rows,
            "n": simulations,
            "alpha": alpha,
            "df": df,
            "method": method,
            "aim": aims or None,
            "interval": interval,
            "seed": seed,
        }
        from bayesmm.inference.power.power import power

        if fitted:
            with stage("fitting"):
                model = build_model(
                    formula, data, reading, residual=residual, weights=weights, sigma=sigma, missing=missing_rows
                )
                estimates = model.fit(method, progress=False)
            found = power(estimates, parameters=truth, **wanted)
        else:
            if reading.relations or reading.pedigrees:
                raise ArgumentError("Designs of related levels are drawn from a fit to the data: add --fitted.")
            if reading.cluster is not None:
                raise ArgumentError("A cluster sums the rows of a fit: add --fitted, or leave out --cluster.")
            frame = read_data(data, reading)
            known = {"residual": residual, "weights": weights, "sigma": sigma, "missing": missing_rows}
            found = power(formula, frame, truth, **known, **wanted)
        from bayesmm.cli.outcomes import power_outcome

        raise typer.Exit(deliver(power_outcome(found, data), paths, as_json=as_json, random_effects=False))


@app.command(epilog=EXIT_CODES)
@options.reads_files
def predict(
    reading: Any,
    formula: options.Formula,
    data: options.Data,
    new: options.New = None,
    interval: options.Interval = None,
    level: options.Level = 0.95,
    random: options.Random = None,
    new_levels: options.NewLevels = "error",
    residuals: options.NewResiduals = "none",
    uncertainty: options.PredictionLayer = "full",
    new_weights: options.NewWeights = None,
    from_posterior: options.FromPosterior = False,
    method: options.Method = "reml",
    draws: options.Draws = 1000,
    tune: options.Tune = 1000,
    chains: options.Chains = 4,
    seed: options.Seed = 0,
    program: options.Program = "auto",
    by: options.By = "nuts",
    priors: options.Priors = None,
    residual: options.Residual = None,
    weights: options.Weights = None,
    sigma: options.Sigma = None,
    missing_rows: options.MissingRows = "drop",
    output: options.PredictOutput = None,
    as_json: options.Json = False,
) -> None:
    """Predict rows, seen or new, with intervals."""
    with plain_errors():
        from bayesmm.cli.models import build_model
        from bayesmm.cli.outputs import TABLES, check_outputs, deliver
        from bayesmm.cli.predictions import predict_outcome, read_rows

        paths = check_outputs(output, TABLES)
        with stage("reading" if from_posterior else "fitting"):
            rows = read_rows(new, data, reading)
            model = build_model(
                formula,
                data,
                reading,
                weights=weights,
                sigma=sigma,
                missing=missing_rows,
                residual=residual,
                priors=priors,
                compiles=from_posterior,
            )
            result = None if from_posterior else model.fit(method, progress=False)
        if result is None:
            result = model.sample(draws=draws, tune=tune, chains=chains, seed=seed, method=by, program=program)
        outcome = predict_outcome(
            model,
            result,
            rows,
            data,
            new,
            interval=interval,
            level=level,
            random=random,
            new_levels=new_levels,
            residuals=residuals,
            uncertainty=uncertainty,
            weights=new_weights,
            seed=seed,
        )
        raise typer.Exit(deliver(outcome, paths, as_json=as_json, random_effects=False))


@app.command()
def datasets(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set to describe.")] = None,
    as_json: options.Json = False,
) -> None:
    """List the bundled data sets, or describe one."""
    with plain_errors():
        from bayesmm.cli.catalogue import catalogue_json, catalogue_text

        if as_json:
            typer.echo(catalogue_json(name, ascii_only=not is_universal(sys.stdout)))
        else:
            show(catalogue_text(name))
