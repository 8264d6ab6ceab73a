"""Attrition and missingness: shares by arm, by hand, and data that must fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimators.checks.small import ATE, findings, fitted_of, units_of

NAN = float("nan")
DROP = replace(ATE, drop_missing=True)


def test_attrition_by_hand() -> None:
    units = units_of([1, 1, 1, 1, 0, 0, 0], y=[1.0, NAN, NAN, 2.0, NAN, 3.0, 4.0])
    found = findings("attrition", units, fitted_of(units, DROP))
    assert found["gap"].value == pytest.approx(2 / 4 - 1 / 3)
    assert found["share"].value == pytest.approx(3 / 7)
    assert found["gap"].detail == {
        "missing": {"0": pytest.approx(1 / 3), "1": pytest.approx(2 / 4)},
        "n": {"0": 3, "1": 4},
    }


def test_attrition_is_weighted() -> None:
    units = units_of([1, 1, 0, 0], y=[NAN, 1.0, 1.0, 1.0], weight=[3.0, 1.0, 1.0, 1.0])
    found = findings("attrition", units, fitted_of(units, DROP))
    assert found["gap"].value == pytest.approx(0.75)
    assert found["share"].value == pytest.approx(0.5)


def test_attrition_fails_on_selection() -> None:
    """Known bad: the treated's bad outcomes are dropped, as cancelled flights are."""
    rng = np.random.default_rng(0)
    d = rng.integers(0, 2, 2_000).astype(float)
    y = np.where((d == 1) & (rng.random(2_000) < 0.083), NAN, rng.standard_normal(2_000))
    units = units_of(d.tolist(), y=y.tolist())
    assert findings("attrition", units, fitted_of(units, DROP))["gap"].value > 0.05


def test_attrition_needs_both_arms() -> None:
    units = units_of([1, 1], y=[NAN, 1.0])
    found = findings("attrition", units, fitted_of(units, DROP))
    assert {each.value for each in found.values()} == {None}


def test_missingness_by_hand() -> None:
    x = {"a": [NAN, NAN, 1.0, 1.0, NAN, 1.0, 1.0], "b": [1.0, 1.0, 1.0, 1.0, NAN, NAN, 1.0]}
    units = units_of([1, 1, 1, 1, 0, 0, 0], x=x)
    found = findings("missingness", units, fitted_of(units))["max_gap"]
    assert found.effect_id is None
    assert found.value == pytest.approx(2 / 3)
    assert found.detail == {
        "treatment": "d",
        "gaps": [
            {"covariate": "a", "0": pytest.approx(1 / 3), "1": pytest.approx(0.5)},
            {"covariate": "b", "0": pytest.approx(2 / 3), "1": 0.0},
        ],
    }


def test_missingness_looks_at_all_units_observed_or_not() -> None:
    x = {"a": [NAN, 1.0, 1.0, 1.0]}
    seen = units_of([1, 1, 0, 0], x=x)
    dropped = units_of([1, 1, 0, 0], x=x, y=[NAN, 1.0, 1.0, 1.0])
    left, right = (findings("missingness", u, fitted_of(u))["max_gap"] for u in (seen, dropped))
    assert left.value == right.value == 0.5


def test_missingness_of_a_category() -> None:
    units = units_of([1, 1, 0, 0], x={"c": [NAN, 0, 0, 1]}, categories={0: ("u", "v")})
    assert findings("missingness", units, fitted_of(units))["max_gap"].value == 0.5


def test_missingness_fails_where_absence_is_a_consequence() -> None:
    """Known bad: pressure is missing because it rains."""
    rng = np.random.default_rng(1)
    d = rng.integers(0, 2, 1_000).astype(float)
    gone = rng.random(1_000) < np.where(d == 1, 0.57, 0.07)
    units = units_of(d.tolist(), x={"pressure": np.where(gone, np.nan, 1.0).tolist()})
    assert 0.4 < findings("missingness", units, fitted_of(units))["max_gap"].value < 0.6


def test_missingness_needs_both_arms() -> None:
    units = units_of([1, 1], x={"a": [NAN, 1.0]})
    assert findings("missingness", units, fitted_of(units))["max_gap"].value is None
