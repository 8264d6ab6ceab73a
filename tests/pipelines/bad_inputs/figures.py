"""Rows that keep every promise, and from which an effect cannot be had, or not be trusted."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from tests.pipelines.bad_inputs.world import BACKFILL, WINDOW, World, bad

figures = partial(bad, "data", by=(BACKFILL,))


def _built(world: World, name: str, values: Any, *changes: tuple[str, str]) -> None:
    """Change a column (and the study), and commit the features that Spark would build of it."""
    world.column(name, values)
    world.edit(*changes)
    world.prebuild()


@figures("a constant treatment", "not_estimable", "constant_treatment", WINDOW)
def _(world: World) -> None:
    _built(world, "coupon", lambda rows: np.ones(len(rows), dtype=int))


@figures("nobody treated in a fold", "not_estimable", "empty_arm", WINDOW)
def _(world: World) -> None:
    one = lambda rows: (np.arange(len(rows)) == len(rows) - 5).astype(int)  # noqa: E731
    _built(world, "coupon", one, ("  - {method: plr}\n", ""))


@figures("an outcome that is missing throughout", "not_estimable", "missing_outcome", WINDOW)
def _(world: World) -> None:
    drop = ("{spend: continuous}", "{spend: {kind: continuous, missing: drop}}")
    _built(world, "spend", lambda rows: pa.nulls(len(rows), pa.float64()), drop)


doubtful = partial(figures, needs="record")
_REPEATED = lambda rows: rows["coupon"].cast(pa.float64()).combine_chunks()  # noqa: E731
_ALONE = ("  - {method: irm, estimand: ate}\n", "")


@doubtful("a treatment that a covariate repeats", "variation.residual_share", "plr.slope")
def _(world: World) -> None:
    _built(world, "age", _REPEATED, _ALONE)


@doubtful("an arm that a covariate repeats", "balance.max_smd", "irm.ate")
def _(world: World) -> None:
    _built(world, "age", _REPEATED, ("  - {method: plr}\n", ""))


@doubtful("hardly any overlap", "overlap.clipped_share", "irm.ate")
def _(world: World) -> None:
    def arms(rows: pa.Table) -> np.ndarray:
        age = rows["age"].to_numpy()
        return (age + np.random.default_rng(3).normal(0, 0.7, len(age)) > np.median(age)).astype(
            int
        )

    _built(world, "coupon", arms, ("  - {method: plr}\n", ""),
           ("treatment: linear}", "treatment: {learner: linear, penalty: 0.001}}"))  # fmt: skip


@doubtful("a weak instrument", "instrument_strength.first_stage_f", "pliv")
def _(world: World) -> None:
    def lottery(rows: pa.Table) -> np.ndarray:
        return np.random.default_rng(5).normal(40.0, 9.0, len(rows))

    _built(
        world, "age", lottery, ("study: orders", "study: lottery"),
        ("outcomes:", "instruments: {age: continuous}\noutcomes:"),
        ("covariates: [age]", "covariates: [city]"), ("coupon, spend", "city, coupon, spend"),
        ("  - {method: plr}\n", "  - {method: pliv}\n"), _ALONE,
    )  # fmt: skip
