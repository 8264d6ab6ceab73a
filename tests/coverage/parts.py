"""Figures of an estimate whose nuisances are fitted in part, and known in part."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np

from tests.coverage.designs import Doubles
from tests.coverage.grid import HERE


def named(fitted: str) -> str:
    """How a choice of fitted nuisances, a letter each, is called."""
    return "+".join(fitted) or "none"


def figures(theta: Doubles, se: Doubles, truth: float) -> dict[str, str]:
    """Bias and mean SE over the spread, the latter's Monte-Carlo error, and coverage."""
    sd, off = theta.std(ddof=1), theta - truth
    found = {
        "bias_over_sd": off.mean() / sd,
        "sd": sd,
        "se_over_sd": se.mean() / sd,
        "mc_se": 1.0 / np.sqrt(2 * len(theta)),
        "coverage": (np.abs(off) <= 1.959964 * se).mean(),
    }
    return {name: f"{value:.4f}" for name, value in found.items()}


def write(name: str, fields: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    """Write ``results/<name>.csv``: these fields of the rows."""
    with (HERE / "results" / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
