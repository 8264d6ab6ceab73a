"""Outcomes among the covariates: found where they are, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.crossfit import plan
from estimators.learners import Design
from estimators.told import told
from estimators.units import Units
from tests.estimators.samples import Size, build, effect, trio


def sample(**given: object) -> Units:
    return build(51, Size(300, k=3), **given)


def beside(units: Units, *columns: np.ndarray) -> Units:
    """The units with more covariates."""
    values = np.column_stack([units.design.values, *columns])
    names = (*units.design.names, *(f"more{i}" for i in range(len(columns))))
    return replace(units, design=Design(values, names, units.design.categories))


def failed(units: Units) -> set[str]:
    return set(plan(units, trio()).failed.values())


@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_a_copy_on_any_scale(precision: type) -> None:
    units = sample(missing=0.1, category=True)
    y = units.outcomes["y"]
    for copy in (y, 1e9 * y, 3.0 - 0.01 * y):
        assert told(beside(units, copy.astype(precision)).design, y)
    assert failed(beside(units, y)) == {"outcome_in_covariates"}


def test_the_outcomes_parts() -> None:
    """Revenue and cost beside profit: neither is a copy."""
    units, rng = sample(), np.random.default_rng(0)
    cost = rng.lognormal(size=units.n)
    parts = beside(units, cost, units.outcomes["y"] + cost)
    assert failed(parts) == {"outcome_in_covariates"}
    assert failed(beside(units, cost)) == set()


def test_a_copy_where_it_is_observed() -> None:
    units = sample(missing_outcome=0.2)
    y = units.outcomes["s"]
    assert np.isnan(y).any()
    assert told(beside(units, y).design, y)


def test_what_only_predicts_well_is_no_copy() -> None:
    units, rng = sample(), np.random.default_rng(1)
    y = units.outcomes["y"]
    assert not told(units.design, y)
    assert not told(beside(units, y + 1e-3 * y.std() * rng.standard_normal(units.n)).design, y)
    assert not told(beside(units, np.where(np.arange(units.n) == 299, 0.0, y)).design, y)
    few = np.arange(20)
    many = rng.standard_normal((20, 19))
    assert not told(Design(many, tuple(f"x{i}" for i in range(19)), {}), y[few])


@pytest.mark.parametrize("value", [0.0, 3.3, 1e12])
def test_a_constant_outcome_is_no_effect_of_zero(value: float) -> None:
    """Fits leave rounding errors, whose estimate had a sign and an interval."""
    units = sample()
    still = replace(units, outcomes={**units.outcomes, "y": np.full(units.n, value)})
    assert failed(still) == {"constant_outcome"}


def test_other_outcomes_go_on() -> None:
    units = sample()
    copied = beside(units, units.outcomes["y"])
    work = plan(copied, (effect(), effect(outcome="z")))
    assert set(work.failed) == {"plr.slope.d.y"}
    assert [each.effect_id for each in work.effects] == ["plr.slope.d.z"]
