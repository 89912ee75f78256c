"""Arguments and options, declared once for all commands."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

SAMPLER = "Sampler"


def _check_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise typer.BadParameter(f"{level:g} is no coverage; give a number between 0 and 1, such as 0.95.")
    return level


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
        help="A file (.csv, .tsv, .parquet; .csv.gz, .tsv.gz), a bundled data set, or - for CSV from standard input.",
    ),
]
Method = Annotated[Literal["reml", "ml"], typer.Option(help="Restricted or full maximum likelihood.")]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="EXPRESSION", help="Prior weights: a column, or an expression of columns such as '1 / se**2'."
    ),
]
Sigma = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", help="Residual standard deviation, if it is known (1 in a meta-analysis)."),
]
Missing = Annotated[Literal["drop", "raise"], typer.Option(help="Leave rows with missing values out, or refuse them.")]
Level = Annotated[float, typer.Option(callback=_check_level, help="Coverage of the intervals.")]
RandomEffects = Annotated[
    bool, typer.Option("--random-effects", "-r", help="Print the random effects of every level too.")
]
Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        help="Write a file too; the ending says which: .csv the table of parameters (with -r another one of the random "
        "effects), .json everything, .nc or .zarr the posterior for bayesmm.load and ArviZ, .png, .pdf or .svg the "
        "figure of a comparison. Can be repeated.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Draws = Annotated[int, typer.Option(min=1, help="Draws kept per chain.", rich_help_panel=SAMPLER)]
Tune = Annotated[int, typer.Option(min=0, help="Iterations of warm-up before them.", rich_help_panel=SAMPLER)]
Chains = Annotated[int, typer.Option(min=1, help="Chains.", rich_help_panel=SAMPLER)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same draws.", rich_help_panel=SAMPLER)]
Program = Annotated[
    Literal["marginal", "conditional"],
    typer.Option(
        help="Integrate the random effects out and draw them afterwards, or sample them.", rich_help_panel=SAMPLER
    ),
]
By = Annotated[
    Literal["nuts", "importance", "quadrature"],
    typer.Option(
        "--by",
        help="Explore the posterior by NUTS, importance sampling (up to some ten spreads) or quadrature (up to four).",
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
