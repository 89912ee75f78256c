"""Arguments and options, declared once for all commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from inspect import Signature, signature
from typing import Annotated, Any, Literal

import typer

from bayesmm.errors import ArgumentError
from bayesmm.presenting.intervals import check_level

SAMPLER = "Sampler"
TEXT_FILE = "Text files"
RELATED = "Related levels"


def _check_level(level: float) -> float:
    try:
        return check_level(level)
    except ArgumentError as error:
        raise typer.BadParameter(str(error)) from None


def _check_missing(marks: list[str] | None) -> list[str] | None:
    for mark in marks or ():
        if mark in ("drop", "raise"):
            raise typer.BadParameter(
                f"{mark!r} would be a field of the file that stands for a missing value; what becomes of rows with "
                f"missing values is said by --missing-rows {mark}."
            )
    return marks


Formula = Annotated[
    str,
    typer.Argument(
        metavar="FORMULA",
        show_default=False,
        help="The model in lme4's grammar, in quotes: 'Reaction ~ Days + (Days | Subject)'.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        "-d",
        metavar="FILE_OR_NAME",
        show_default=False,
        help="A file (.csv, .tsv, .parquet; .csv.gz, .tsv.gz), a bundled data set, or - for CSV from standard input; "
        "a folder or a pattern, 'visits/*.parquet', is read in chunks and never all in memory.",
    ),
]
Method = Annotated[Literal["reml", "ml"], typer.Option(help="Restricted or full maximum likelihood.")]
Df = Annotated[
    Literal["satterthwaite", "kenward-roger", "residual", "normal"],
    typer.Option("--df", help="Degrees of freedom of the fixed effects."),
]
Information = Annotated[
    Literal["expected", "observed"] | None,
    typer.Option(
        show_default=False,
        help="Information that those degrees of freedom come from; by default observed for Satterthwaite, expected for "
        "Kenward and Roger.",
    ),
]
Type = Annotated[
    Literal["1", "2", "3"],
    typer.Option(
        help="1: each term after those before it. 2: after all that do not contain it. 3: in the mean of the levels of "
        "other factors."
    ),
]
Hypotheses = Annotated[
    str,
    typer.Argument(
        metavar="HYPOTHESES",
        show_default=False,
        help="Equations between fixed effects, with commas between them: 'Days = 0, Intercept = 250'.",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        show_default=False,
        help="The true value of a parameter: 'x=0.5', 'sd(Intercept | g)=1', 'sigma=2', several with semicolons "
        "between them. Can be repeated.",
    ),
]
Test = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="NAME",
        show_default=False,
        help="What is to be found: a coefficient, a term, a hypothesis, a standard deviation. Can be repeated. By "
        "default every coefficient but the intercept.",
    ),
]
Along = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=N,N,...",
        show_default=False,
        help="How many levels of a grouping column a design shall have: 'g=10,20,40'. Can be repeated.",
    ),
]
Within = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=N,N,...",
        show_default=False,
        help="How many rows each level, or combination 'a:b', shall have: 'g=5,10'. Can be repeated.",
    ),
]
Aims = Annotated[
    list[str] | None,
    typer.Option(
        "--aim",
        metavar="NAME=LENGTH",
        show_default=False,
        help="A length that the interval of a coefficient shall be shorter than. Can be repeated.",
    ),
]
Fitted = Annotated[
    bool, typer.Option("--fitted", help="Take the parameters that are not given from a fit to the data.")
]
SimulationSeed = Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same data sets.")]
Simulations = Annotated[int, typer.Option("-n", "--simulations", min=1, help="Data sets drawn of each design.")]
Alpha = Annotated[float, typer.Option(help="An effect is found if its p-value is at most this.")]
IntervalKind = Annotated[
    Literal["wald", "bootstrap", "posterior"],
    typer.Option("--interval", help="Intervals whose length is told; the latter two take long: ask for few data sets."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION", help="Prior weights: a column, or an expression of columns such as '1 / se**2'."
    ),
]
Residual = Annotated[
    str | None,
    typer.Option(
        metavar="STRUCTURE",
        help="Covariance of the residuals: 'ar1(week | id)', 'us(visit | id)', 'het(machine)', products with *.",
    ),
]
Sigma = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", help="Residual standard deviation, if it is known (1 in a meta-analysis)."),
]
MissingRows = Annotated[
    Literal["drop", "raise"],
    typer.Option("--missing-rows", help="Leave rows with missing values out, or refuse them."),
]
Sep = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        show_default=False,
        help="What separates fields, ';' or '\\t'; by default a comma, in .tsv files a tab.",
        rich_help_panel=TEXT_FILE,
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(metavar="MARK", show_default=False, help="Decimal mark: ','.", rich_help_panel=TEXT_FILE),
]
Thousands = Annotated[
    str | None,
    typer.Option(
        metavar="MARK", show_default=False, help="What groups digits: '.' in 1.234,5.", rich_help_panel=TEXT_FILE
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        show_default=False,
        callback=_check_missing,
        help="A field that stands for a missing value, such as '.' or -99; empty fields and NA always do. Can be "
        "repeated.",
        rich_help_panel=TEXT_FILE,
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default=False, help="cp1252, latin-1, ...; by default UTF-8.", rich_help_panel=TEXT_FILE
    ),
]
Relations = Annotated[
    list[str] | None,
    typer.Option(
        "--relation",
        metavar="NAME=FILE",
        show_default=False,
        help="A matrix that relates levels, for (1 | rel(g, NAME)): a file whose first line and first column name the "
        "levels. Can be repeated.",
        rich_help_panel=RELATED,
    ),
]
Pedigrees = Annotated[
    list[str] | None,
    typer.Option(
        "--pedigree",
        metavar="NAME=FILE",
        show_default=False,
        help="A pedigree that relates animals, for (1 | rel(animal, NAME)): a file whose first three columns are "
        "animal, sire and dam. Can be repeated.",
        rich_help_panel=RELATED,
    ),
]
Level = Annotated[float, typer.Option(callback=_check_level, help="Coverage of the intervals.")]
RandomEffects = Annotated[
    bool, typer.Option("--random-effects", "-r", help="Print the random effects of every level too.")
]


def _output(*what: str) -> Any:
    return typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        help=f"Write a file too; its ending says what: {', '.join(what)}. Can be repeated.",
    )


_TABLES = (".csv the table of parameters (with -r another one of the random effects)", ".json everything")
_DRAWS = ".nc or .zarr the posterior, for bayesmm.load and ArviZ"
CheckOutput = Annotated[list[str] | None, _output(".csv the looks at residuals and random effects", ".json everything")]
TestOutput = Annotated[list[str] | None, _output(".csv the table of tests", ".json everything")]
PredictOutput = Annotated[list[str] | None, _output(".csv the rows with their predictions", ".json everything")]
FitOutput = Annotated[list[str] | None, _output(*_TABLES, ".nc or .zarr the fit, for bayesmm.load")]
PowerOutput = Annotated[
    list[str] | None, _output(".csv the table", ".json everything", ".png, .pdf or .svg the figure")
]
SampleOutput = Annotated[list[str] | None, _output(*_TABLES, _DRAWS)]
CompareOutput = Annotated[list[str] | None, _output(*_TABLES, _DRAWS, ".png, .pdf or .svg the figure")]
EffectsOutput = Annotated[
    list[str] | None,
    _output(
        ".csv the table of effects", ".json everything", ".png, .pdf or .svg the figure of the first effect chosen"
    ),
]
Group = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="A grouping factor; by default all of them.")
]
Effect = Annotated[
    str | None,
    typer.Option(metavar="NAME", show_default=False, help="A random effect, such as Days; by default all of them."),
]
Uncertainty = Annotated[
    Literal["conditional", "fixed", "full", "bootstrap"] | None,
    typer.Option(
        show_default=False,
        help="Print every level with its interval by this layer, instead of all layers side by side.",
    ),
]
Bootstrap = Annotated[
    int | None,
    typer.Option(min=2, metavar="REFITS", show_default=False, help="Add the layer of a bootstrap with so many refits."),
]
WithPosterior = Annotated[bool, typer.Option("--posterior", help="Sample, and add the layer of the posterior.")]
AsideFit = Annotated[
    bool, typer.Option("--posterior/--no-posterior", help="Sample too, and put the posterior beside the estimates.")
]
Explorer = Annotated[
    bool, typer.Option("--explorer/--no-explorer", help="Put the shrinkage explorer on the page, if the model allows.")
]
Title = Annotated[
    str | None, typer.Option(metavar="TEXT", show_default=False, help="What stands on top; by default the formula.")
]
ReportOutput = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE.html", help="The page, one file that needs no network.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
New = Annotated[
    str | None,
    typer.Option(
        "--new",
        metavar="FILE_OR_NAME",
        show_default=False,
        help="Rows to predict, written as the data are; by default those of the data.",
    ),
]
Interval = Annotated[
    Literal["confidence", "prediction"] | None,
    typer.Option(
        show_default=False,
        help="Intervals of the expected response (confidence), or of a new observation (prediction). A posterior has "
        "those of the expected response unless the others are asked for.",
    ),
]
Random = Annotated[
    list[str] | None,
    typer.Option(
        metavar="all|none|GROUP",
        show_default=False,
        help="Whose effects are part of the prediction: all (by default), none, or a grouping factor. Can be repeated.",
    ),
]
NewLevels = Annotated[
    Literal["error", "population", "sample"],
    typer.Option(
        "--new-levels",
        help="Refuse levels that the data do not have; predict them with effects of zero; or with effects like those "
        "of the others, whose variance is in the interval.",
    ),
]
NewResiduals = Annotated[
    Literal["none", "conditional"],
    typer.Option(
        "--residuals",
        help="Whether the residuals of a group's rows count for its new rows, where --residual correlates them.",
    ),
]
PredictionLayer = Annotated[
    Literal["full", "fixed", "conditional", "bootstrap"],
    typer.Option(
        help="What an interval of a fit takes for an estimate: everything; fixed and random effects; random effects "
        "alone; or everything, by refits to drawn data."
    ),
]
NewWeights = Annotated[
    float | None,
    typer.Option(
        "--new-weights",
        metavar="NUMBER",
        show_default=False,
        help="Prior weight of the new rows, where --new has no column for it.",
    ),
]
FromPosterior = Annotated[
    bool, typer.Option("--posterior", help="Predict from the posterior rather than from estimates.")
]
Sets = Annotated[
    int, typer.Option("--sets", min=20, help="Data sets that the model draws, beside which the data are seen.")
]
CheckSeed = Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same sets.")]
Draws = Annotated[int, typer.Option(min=1, help="Draws kept per chain.", rich_help_panel=SAMPLER)]
Tune = Annotated[int, typer.Option(min=0, help="Iterations of warm-up before them.", rich_help_panel=SAMPLER)]
Chains = Annotated[int, typer.Option(min=1, help="Chains.", rich_help_panel=SAMPLER)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same draws.", rich_help_panel=SAMPLER)]
Program = Annotated[
    Literal["auto", "marginal", "conditional"],
    typer.Option(
        help="Integrate the random effects out and draw them afterwards, or sample them; auto integrates them out "
        "where they can be.",
        rich_help_panel=SAMPLER,
    ),
]
By = Annotated[
    Literal["nuts", "importance", "quadrature"],
    typer.Option(
        "--by",
        help="Explore the posterior by NUTS, importance sampling (up to some ten standard deviations "
        "and correlations) or quadrature (up to four).",
        rich_help_panel=SAMPLER,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER.zarr",
        show_default=False,
        help="Write the run here as it goes on; the same command goes on from there if it is stopped.",
        rich_help_panel=SAMPLER,
    ),
]
Priors = Annotated[
    list[str] | None,
    typer.Option(
        metavar="flat|NAME=PRIOR",
        show_default=False,
        help="Flat priors, or the prior of a parameter or of a kind: 'Days=Normal(0, 20)', 'sd=HalfNormal(30)'. Can be "
        "repeated. What is not named keeps its weakly informative default.",
        rich_help_panel=SAMPLER,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        show_default=False,
        help="Let the workers of a Dask cluster read the files of --data; its scheduler's address, tcp://host:8786.",
    ),
]


def _read(
    sep: Sep = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    missing: Missing = None,
    encoding: Encoding = None,
    relations: Relations = None,
    pedigrees: Pedigrees = None,
    cluster: Cluster = None,
) -> Any:
    """Say how text files are written and what relates levels, by options that every command with data has."""
    from bayesmm.cli.data import Reading

    return Reading(
        sep=sep,
        decimal=decimal,
        thousands=thousands,
        missing=missing or (),
        encoding=encoding,
        relations=relations or (),
        pedigrees=pedigrees or (),
        cluster=cluster,
    )


def reads_files(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of files that it reads, before those of its output, and call it with what they say.

    Typer reads options off a signature: that of the command, with the options in the place of ``reading``.
    """
    files = list(signature(_read, eval_str=True).parameters.values())
    own = [each for each in signature(command, eval_str=True).parameters.values() if each.name != "reading"]
    at = [each.name for each in own].index("output")
    parameters = [*own[:at], *files, *own[at:]]

    def called(**given: Any) -> None:
        reading = _read(**{each.name: given.pop(each.name) for each in files})
        command(reading=reading, **given)

    update_wrapper(called, command)
    del called.__wrapped__  # its signature is another
    called.__signature__ = Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called
