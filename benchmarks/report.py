"""What every benchmark script shares with its reader: one option, and results as lines of JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any


def is_quick(description: str | None) -> bool:
    """Read the one option of a script: whether small sizes will do, to see that everything runs."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes: a smoke test, its times mean nothing")
    return parser.parse_args().quick


def print_line(line: dict[str, Any]) -> None:
    """Print one result as one line of JSON, numbers rounded to what a timing can bear."""
    print(json.dumps(_rounded(line), ensure_ascii=False), flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        # Log-likelihoods are compared to two decimals: four significant digits would hide what they differ by.
        return {key: round(x, 6) + 0.0 if _is_loglik(key, x) else _rounded(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(x) for x in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _is_loglik(key: str, value: Any) -> bool:
    return key.startswith("loglik") and isinstance(value, float)
