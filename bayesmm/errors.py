"""Everything that bayesmm raises, warns about or returns as a verdict."""

from enum import Enum
from pathlib import Path

from bayesmm.console import screenful

PACKAGE = str(Path(__file__).parent)  # where a warning is not from: it points at the line of the user's that called


class BayesmmError(Exception):
    """The parent of every error that bayesmm raises on purpose.

    Its text fits on a screen of a terminal, which obeys nothing in it.
    """

    def __str__(self) -> str:
        return screenful(Exception.__str__(self))


class ArgumentError(BayesmmError, ValueError):
    """An argument has a value or type that the function cannot take."""


class KeywordError(ArgumentError, TypeError):
    """A keyword was given that another program has; the text says what to write here."""


class VariableError(BayesmmError, KeyError):
    """A posterior was asked for a variable that it does not hold."""


class SpecificationError(BayesmmError, ValueError):
    """A formula, or another declaration of the model, cannot be read."""


class DesignError(BayesmmError, ValueError):
    """The data do not fit the specification."""


class PriorError(BayesmmError, ValueError):
    """A prior names a parameter that is not there, or does not suit it."""


class RowsError(BayesmmError, ValueError):
    """Rows cannot be read where they are, or something asks for rows that are not in memory."""


class EstimationError(BayesmmError, ValueError):
    """The likelihood has no maximum, or every value of a parameter maximises it."""


class SamplingError(BayesmmError, ValueError):
    """The posterior has no density where it is to be explored, or cannot be explored by this method."""


class ProcessError(BayesmmError, RuntimeError):
    """The process cannot run JAX: it was forked from one in which JAX was running."""


class PredictionError(BayesmmError, ValueError):
    """Predictions were asked for that the model cannot give."""


class ComparisonError(BayesmmError, ValueError):
    """Two results cannot be compared: they are not of the same model and data."""


class DatasetError(BayesmmError, ValueError):
    """A data set is unknown, or a simulation was asked for with impossible values."""


class StorageError(BayesmmError, OSError, ValueError):
    """A file cannot be read or written, or is not one that this version of bayesmm can read."""


class BayesmmWarning(UserWarning):
    """Something was done that the reader of the result should know about."""

    def __str__(self) -> str:
        return screenful(super().__str__())


class FitStatus(Enum):
    """The verdict on a point estimate; the value of a member is its advice in one sentence."""

    CONVERGED = "The optimiser reached a maximum of the likelihood inside the parameter space."
    BOUNDARY = (
        "The optimiser reached the maximum of the likelihood, but on the boundary: a standard deviation was estimated "
        "as zero or a correlation as ±1, so a simpler covariance would fit as well."
    )
    NOT_CONVERGED = (
        "The optimiser did not reach a maximum of the likelihood: do not interpret these estimates; simplify "
        "the random effects."
    )


def __dir__() -> list[str]:
    return sorted(name for name, value in globals().items() if isinstance(value, type) and value.__module__ == __name__)
