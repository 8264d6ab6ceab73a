"""What every check of the catalogue must do."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from estimators.catalog import CHECKS
from estimators.checks import IMPLEMENTATIONS, applicable
from estimators.crossfit import Sums
from estimators.effects import EffectSpec
from estimators.tallies import Tallies, Tally
from tests.estimators.samples import BOOSTED, Size, build, contrast, crossfit, effect, instrumented

EFFECTS = (
    effect(),
    effect(treatment="t"),
    effect("irm", "ate", outcome="s", drop_missing=True),
    effect("irm", "att", outcome="z", by=(("g",),)),
    contrast("b", None, outcome="s", drop_missing=True),
    contrast("b", "a", by=(("g",),)),
    *instrumented(outcome="s", drop_missing=True),
)
# Corrections need calibration rows and designs known propensities: tested with them.
PLAIN = [name for name in CHECKS if name not in ("clusters", "correction", "design")]


@pytest.fixture(scope="module")
def sums() -> list[Sums]:
    size = Size(300, k=3, reps=2, groups=2)
    units = build(81, size, weighted=True, missing=0.1, category=True, missing_outcome=0.1)
    learners = {"outcome_learner": BOOSTED, "treatment_learner": BOOSTED}
    return crossfit(units, tuple(replaced(each, learners) for each in EFFECTS))[1]


def replaced(spec: EffectSpec, learners: dict) -> EffectSpec:
    from dataclasses import replace

    return replace(spec, **learners)


def rows_of(sums: list[Sums]) -> list[Tally]:
    return [row for each in sums for row in each.tallies]


def test_catalogue_and_implementations_name_the_same_checks() -> None:
    assert list(IMPLEMENTATIONS) == list(CHECKS)


@pytest.mark.parametrize("check", PLAIN)
def test_metrics_are_the_catalogues(check: str, sums: list[Sums]) -> None:
    tallies = Tallies(rows_of(sums))
    ran = 0
    for spec in EFFECTS:
        if check not in applicable(spec):
            continue
        found = IMPLEMENTATIONS[check].run(tallies, spec)
        ran += 1
        assert sorted(each.metric for each in found) == sorted(CHECKS[check].metrics)
        scope = None if CHECKS[check].scope == "study" else spec.effect_id
        assert {each.effect_id for each in found} == {scope}
        for each in found:
            assert each.value is not None
            assert math.isfinite(each.value)
    assert ran


@pytest.mark.parametrize("check", PLAIN)
def test_details_are_plain_json(check: str, sums: list[Sums]) -> None:
    tallies = Tallies(rows_of(sums))
    for spec in EFFECTS:
        if check in applicable(spec):
            for each in IMPLEMENTATIONS[check].run(tallies, spec):
                text = json.dumps(each.detail, allow_nan=False, sort_keys=True)
                assert json.loads(text) == each.detail


@pytest.mark.parametrize("check", PLAIN)
def test_findings_do_not_depend_on_the_order_of_the_sums(check: str, sums: list[Sums]) -> None:
    rows = rows_of(sums)
    # Of one subject the order of folds is free; of subjects it is the order of the table.
    free = sorted(rows, key=lambda each: (-each.fold, -each.rep))
    for spec in EFFECTS:
        if check in applicable(spec):
            run = IMPLEMENTATIONS[check].run
            assert run(Tallies(rows), spec) == run(Tallies(free), spec)


@pytest.mark.parametrize("check", PLAIN)
def test_without_sums_nothing_is_found_and_nothing_breaks(check: str) -> None:
    """An effect that failed has no tallies: its figures cannot be had, and so do not pass."""
    for spec in EFFECTS:
        if check in applicable(spec):
            found = IMPLEMENTATIONS[check].run(Tallies([]), spec)
            assert {each.value for each in found} == {None}
            assert sorted(each.metric for each in found) == sorted(CHECKS[check].metrics)
            json.dumps([each.detail for each in found], allow_nan=False)


def test_which_check_applies() -> None:
    plr, dose, dropped, kept, mean, pair, *moved = (applicable(each) for each in EFFECTS)
    assert plr == ["missingness", "nuisance_quality", "variation", "clusters"]
    assert dose == ["nuisance_quality", "variation", "clusters"]
    some = ["overlap", "balance", "missingness", "nuisance_quality"]
    every = ["overlap", "balance", "attrition", "missingness", "nuisance_quality"]
    assert dropped == [*every, "clusters"]
    assert kept == [*some, "clusters"]
    assert (mean, pair) == (dropped, kept)
    by_binary, by_continuous, late = moved
    of_instrument = ["nuisance_quality", "instrument_strength", "clusters"]
    assert by_binary == ["attrition", "missingness", *of_instrument]
    assert by_continuous == of_instrument
    assert late == [*every, "instrument_strength", "clusters"]


def test_tallies_hold_sums_and_no_rows(sums: list[Sums]) -> None:
    """As many rows for 300 units as for 600: nothing grows with n."""
    size = Size(600, k=3, reps=2, groups=2)
    units = build(82, size, weighted=True, missing=0.1, category=True, missing_outcome=0.1)
    _, more = crossfit(units, EFFECTS)
    assert len(rows_of(more)) == len(rows_of(sums))


def test_tallies_are_plain_numbers(sums: list[Sums]) -> None:
    for row in rows_of(sums):
        assert type(row.n) is int
        assert {type(getattr(row, name)) for name in ("w", "ww", "x", "xx", "xy")} == {float}
        assert all(type(count) is int for count in row.hist)
        assert np.isfinite([row.w, row.ww, row.x, row.xx, row.xy]).all()
