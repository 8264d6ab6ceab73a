"""Conditions, gates and verdicts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.gates import (
    CheckRow,
    gates_failed,
    parse_condition,
    passes,
    thresholds,
    verdicts,
)
from conf.load import parse_study
from estimators.errors import StudyError, UsageError

PLR, IRM = "plr.slope.coupon.spend", "irm.ate.coupon.spend"
NORTH = f"{IRM}@region=north"


@pytest.fixture
def study(small):
    return parse_study(small, Path("shops.yaml"))


def _row(name, value, *, passed=None, effect=None):
    check, metric = name.split(".")
    return CheckRow(effect, check, metric, value, None, None, passed, "{}")


def _good():
    """The figures on which the small study's gates stand, all good."""
    return [
        _row("overlap.ess_share", 0.8, passed=True, effect=IRM),
        _row("attrition.gap", 0.01, passed=True, effect=IRM),
        _row("attrition.gap", 0.01, passed=True, effect=PLR),
    ]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (">= 0.5", (">=", 0.5)),
        ("<=-1e-3", ("<=", -0.001)),
        (" < .5 ", ("<", 0.5)),
        ("> 2", (">", 2.0)),
    ],
)
def test_conditions(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize("text", ["", "0.5", "== 0.5", ">= x", ">= nan", ">= 0.5 or so", "=> 1"])
def test_what_is_no_condition(text):
    with pytest.raises(UsageError):
        parse_condition(text)


@settings(deadline=None)  # a busy machine is no fault
@given(value=st.floats(allow_nan=False), threshold=st.floats(-1e9, 1e9))
def test_passes_compares(value, threshold):
    assert passes(value, "<=", threshold) != passes(value, ">", threshold)
    assert passes(value, ">=", threshold) != passes(value, "<", threshold)


@pytest.mark.parametrize("op", ["<", "<=", ">", ">="])
def test_a_figure_that_could_not_be_had_never_passes(op):
    assert not passes(None, op, 0.0)
    assert not passes(math.nan, op, 0.0)


def test_thresholds_are_the_studys_own_else_the_catalogues(study):
    assert thresholds(study) == {
        "overlap": {"clipped_share": ("<=", 0.05), "ess_share": (">=", 0.5)},
        "balance": {"max_smd_raw": None, "max_smd": ("<=", 0.2)},
        "attrition": {"gap": ("<=", 0.05), "share": None},
        "clusters": {"effective": (">=", 10.0)},  # always judged where a cluster is declared
    }


def test_all_good_holds(study):
    found = verdicts(study, [PLR, IRM], _good())
    assert [each.verdict for each in found.values()] == ["holds", "holds"]
    assert gates_failed(found) == []


def test_a_failed_check_without_a_gate_warns(study):
    rows = [*_good(), _row("balance.max_smd", 0.3, passed=False, effect=IRM)]
    found = verdicts(study, [PLR, IRM], rows)
    assert (found[IRM].verdict, found[IRM].failed) == ("doubtful", ("balance.max_smd",))
    assert found[PLR].verdict == "holds"


def test_a_failed_gate_rejects_and_has_its_own_condition(study):
    rows = [_row("attrition.gap", 0.03, passed=True, effect=effect) for effect in (PLR, IRM)]
    rows += [_row("overlap.ess_share", 0.4, passed=False, effect=IRM)]
    found = verdicts(study, [PLR, IRM], rows)
    assert found[IRM].verdict == "rejected"
    assert found[IRM].failed == ("overlap.ess_share",)
    assert found[IRM].gates_failed == ("attrition.gap", "overlap.ess_share")
    assert (found[PLR].verdict, found[PLR].failed) == ("rejected", ())
    assert gates_failed(found) == [
        f"{IRM}:attrition.gap",
        f"{IRM}:overlap.ess_share",
        f"{PLR}:attrition.gap",
    ]


def test_a_grouped_effect_takes_checks_and_gates_of_its_ungrouped(study):
    rows = [row for row in _good() if row.check != "overlap"]
    rows += [_row("overlap.ess_share", 0.4, passed=False, effect=IRM)]
    found = verdicts(study, [IRM, NORTH], rows)
    assert found[NORTH].verdict == "rejected"
    assert found[NORTH].failed == found[IRM].failed
    assert gates_failed(found) == [f"{IRM}:overlap.ess_share"]
    assert gates_failed(verdicts(study, [NORTH], rows)) == [f"{NORTH}:overlap.ess_share"]


def test_rows_of_the_whole_study_count_for_all(study):
    rows = [*_good(), _row("missingness.max_gap", 0.5, passed=False)]
    found = verdicts(study, [PLR, IRM, NORTH], rows)
    assert all(each.failed == ("missingness.max_gap",) for each in found.values())
    assert all(each.verdict == "doubtful" for each in found.values())


def test_a_figure_that_is_absent_fails_the_gate_where_the_check_applies(study):
    found = verdicts(study, [PLR, IRM], [])
    assert found[IRM].gates_failed == ("attrition.gap", "overlap.ess_share")
    assert found[PLR].gates_failed == ("attrition.gap",)


def test_a_gate_on_a_check_that_says_nothing_of_an_effect_does_not_touch_it(edit):
    study = parse_study(edit(('"irm.*": {', '"*": {')), Path("x"))
    found = verdicts(study, [PLR, IRM], _good())
    assert found[PLR].verdict == "holds"


def test_a_gate_may_mean_one_group(edit):
    study = parse_study(edit(('"irm.*": {', '"irm.*@region=n*": {')), Path("x"))
    rows = [row for row in _good() if row.check != "overlap"]
    rows += [_row("overlap.ess_share", 0.4, passed=True, effect=IRM)]
    found = verdicts(study, [IRM, NORTH, f"{IRM}@region=south"], rows)
    assert [each.verdict for each in found.values()] == ["holds", "rejected", "holds"]


def test_a_gate_on_drift_is_judged_only_where_a_review_has_made_the_test(small):
    text = small.replace('"irm.*": {', '"irm.*": {drift.p_value: ">= 0.01", ')
    study = parse_study(text, Path("shops.yaml"))
    assert verdicts(study, [IRM], _good())[IRM].verdict == "holds"
    quiet = [*_good(), _row("drift.p_value", 0.4, effect=IRM)]
    assert verdicts(study, [IRM], quiet)[IRM].verdict == "holds"
    for value in (0.001, None, math.nan):
        moved = [*_good(), _row("drift.p_value", value, effect=IRM)]
        found = verdicts(study, [IRM, PLR], moved)
        assert found[IRM].gates_failed == ("drift.p_value",)
        assert found[PLR].verdict == "holds"


def test_drift_is_no_check_of_a_run(small):
    """It would make the run key depend on who is champion."""
    with pytest.raises(StudyError, match="drift"):
        parse_study(small.replace("checks: [", "checks: [drift, "), Path("shops.yaml"))
