"""Public data sets as units, from wheels: NSW, its CPS controls and NHEFS; ACIC 2016 no. 1."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from causaldata import cps_mixtape, nhefs_complete, nsw_mixtape

from estimators.learners import Design
from estimators.units import Units
from tests.estimators.samples import from_arrays

EARNINGS = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
BODY = ["sex", "race", "age", "smokeintensity", "smokeyrs", "wt71"]
CATEGORIES = ["education", "exercise", "active"]


def load(name: str) -> pd.DataFrame:
    """One of causaldata's tables as plain columns."""
    source: Any = {"nsw": nsw_mixtape, "cps": cps_mixtape, "nhefs": nhefs_complete}[name]
    return source.load_pandas().data


def nsw() -> pd.DataFrame:
    """The experiment: 185 treated, 260 controls."""
    return load("nsw")


def cps() -> pd.DataFrame:
    """The experiment's treated with 15,992 controls from a survey."""
    treated = nsw()[lambda rows: rows.treat == 1]
    return pd.concat([treated, load("cps")], ignore_index=True)


def earnings_units(rows: pd.DataFrame) -> Units:
    """Treatment ``d``, outcome ``y`` (earnings in 1978), and what linear models need besides."""
    columns = rows[EARNINGS].astype(float)
    columns["age2"] = columns.age**2
    columns["u74"] = (columns.re74 == 0).astype(float)
    columns["u75"] = (columns.re75 == 0).astype(float)
    return units_of(columns, rows.treat, rows.re78)


def nhefs_units() -> Units:
    """Quitting smoking and the change in weight, 1,566 people; adjusted as in the book."""
    rows = load("nhefs")
    columns = rows[BODY].astype(float)
    for name in ("age", "smokeintensity", "smokeyrs", "wt71"):
        columns[f"{name}2"] = columns[name] ** 2
    for name in CATEGORIES:
        for level in sorted(rows[name].astype(float).unique())[1:]:
            columns[f"{name}={level:g}"] = (rows[name].astype(float) == level).astype(float)
    return units_of(columns, rows.qsmk, rows.wt82_71, k=10, reps=3)


def units_of(
    columns: pd.DataFrame, d: pd.Series, y: pd.Series, *, k: int = 5, reps: int = 1
) -> Units:
    design = Design(columns.to_numpy(np.float64), tuple(columns), {})
    return from_arrays(
        design, {"d": d.to_numpy(np.float64)}, {"y": y.to_numpy(np.float64)}, k=k, reps=reps
    )


def acic() -> tuple[Units, np.ndarray]:
    """The first set of the ACIC 2016 challenge: 4,802 units, 58 covariates, and tau of each.

    Covariates are those of a study of births; treatment and outcome were simulated, and tau is
    the difference of the two expected outcomes. Source: Dorie et al. 2019, *Automated versus
    do-it-yourself methods for causal inference*. Only files of causallib are read.
    """
    found = find_spec("causallib")
    assert found is not None
    root = Path((found.submodule_search_locations or [""])[0])
    folder = root / "datasets" / "data" / "acic_challenge_2016"
    x, drawn = pd.read_csv(folder / "x.csv"), pd.read_csv(folder / "zymu_1.csv")
    categories = {}
    for place, name in enumerate(x.columns):
        if x[name].dtype == object:
            labels = tuple(sorted(x[name].unique()))
            categories[place] = labels
            x[name] = x[name].map({label: code for code, label in enumerate(labels)})
    design = Design(x.to_numpy(np.float64), tuple(x), categories)
    y = np.where(drawn.z == 1, drawn.y1, drawn.y0)
    units = from_arrays(design, {"d": drawn.z.to_numpy(np.float64)}, {"y": y}, k=5)
    return units, (drawn.mu1 - drawn.mu0).to_numpy(np.float64)
