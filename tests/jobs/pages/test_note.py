"""The notes: what a reviewer reads first."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from conf.gates import CheckRow
from jobs.pages import note
from jobs.pages.evidence import Evidence
from jobs.pages.reasons import Finding, findings, line, why
from jobs.pages.wording import decimals, interval, number, shorten, significant
from tests.jobs import record_sample as sample
from tests.jobs.record_sample import evidence

DATA = {"flights": 12, "weather": 0}
FAILED = dict.fromkeys(("theta", "se", "ci_low", "ci_high", "naive"))


def one(home: Path, **columns: Any) -> Evidence:
    """A window whose headline effect has these columns."""
    return evidence(sample.record(home, changes={"plr.slope.rain.dep_delay": columns}))


def test_the_note_begins_with_the_verdict_the_effect_and_the_change(march: Evidence) -> None:
    first = note.run_note(march, "1", "RID", DATA).splitlines()[0]
    assert first.startswith("**REJECTED: rain raises dep_delay by 18.3 (95 % CI 13.8 to 22.8,")
    assert "+2.5 vs 2013-02" in first
    assert "checks pass" in first
    assert "attrition.gap fails" in first
    assert first.endswith(".**")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"theta": -3.5, "se": 0.4, "ci_low": -4.3, "ci_high": -2.7},
            "rain lowers dep_delay by 3.50 (95 % CI 2.70 to 4.30, PLR slope)",
        ),
        (
            {"theta": 0.5, "se": 0.4, "ci_low": -0.3, "ci_high": 1.3},
            "no clear effect: rain raises dep_delay by 0.50 (95 % CI -0.30 to 1.30, PLR slope)",
        ),
        (
            FAILED | {"status": "failed", "error_code": "constant_treatment"},
            "the effect of rain on dep_delay is not estimable (constant_treatment)",
        ),
        (
            {"se": math.nan},
            "the effect of rain on dep_delay is not estimable (no_interval)",
        ),
    ],
)
def test_the_effect_in_a_sentence(tmp_path: Path, columns: dict[str, Any], expected: str) -> None:
    assert note.sentence(one(tmp_path, **columns).main) == expected


def test_the_note_says_why_with_the_figures_of_this_study(tmp_path: Path) -> None:
    text = note.run_note(evidence(sample.record(tmp_path, overcontrolled=True)), "1", "RID", DATA)
    assert "dep_delay is missing for 8.3 % of rain = 1 and 2 % of rain = 0" in text
    assert "pressure is missing for 57 % of rain = 1 and 7 % of rain = 0" in text
    assert "rests on an effective 25 % of the units with rain = 1" in text
    assert "Data: flights v12, weather v0 · 27,000 units in 31 clusters (flight_date)" in text
    assert "Asserted to be before treatment (nothing can check it): hour, carrier," in text
    assert "Guarded by time: late_7d, legs_7d." in text
    assert "`causeway run rain_delays --window 2013-03`" in text


def test_links_lead_to_the_pictures_the_views_and_the_window_before(march: Evidence) -> None:
    text = note.run_note(march, "7", "RID", DATA, previous_run="OLD")
    assert "![effects](get-artifact?path=forest.png&run_uuid=RID)" in text
    assert "[Report](#/experiments/7/runs/RID/artifacts/report.html?workflowType=" in text
    assert "[vs 2013-02](#/compare-runs?runs=%5B%22OLD%22%2C%20%22RID%22%5D&experiments=" in text
    assert "viewStateShareKey=review" in text
    plain = note.run_note(march, "7", "RID", DATA)
    assert "compare-runs" not in plain


def test_the_table_has_the_headline_first_and_the_window_before(march: Evidence) -> None:
    lines = note.run_note(march, "1", "RID", DATA).splitlines()
    table = [each for each in lines if each.startswith("|")]
    assert table[0] == "| Effect | Estimate (95 % CI) | Naive | 2013-02 | Change | Verdict |"
    assert table[2].startswith("| **PLR slope of rain on dep_delay** | 18.3 [13.8, 22.8] |")
    assert len(table) == 2 + 6
    assert "The other 6 effects, groups among them: `tables/effects.csv`" in lines


def test_a_note_never_exceeds_what_mlflow_keeps(tmp_path: Path) -> None:
    names = [f"a_covariate_with_a_long_name_{number:03d}" for number in range(400)]
    effects = [{"method": "irm", "estimand": each} for each in ("ate", "att")] * 1
    outcomes = {f"an_outcome_with_a_long_name_{number:02d}": "binary" for number in range(40)}
    loaded = sample.study(covariates=names, effects=effects, outcomes=outcomes, publish={})
    rows = [
        row | {"outcome": outcome, "effect_id": f"irm.{row['estimand']}.rain.{outcome}"}
        for outcome in outcomes
        for row in sample.effects("2013-03", 0.0)
        if row["method"] == "irm" and row["outcome"] == "cancelled" and not row["group_by"]
    ]
    found = evidence(sample.record(tmp_path, loaded=loaded, rows=rows))
    text = note.run_note(found, "1", "RID", DATA)
    assert len(text) < note.TARGET
    assert "and 370 more" in text
    assert len(note.estimate_note(found, found.main, "1", "RID")) < note.TARGET


def test_no_checks_is_said(tmp_path: Path) -> None:
    loaded = sample.study(checks=[], publish={})
    text = note.run_note(
        evidence(sample.record(tmp_path, loaded=loaded, checks=False)), "1", "RID", DATA
    )
    assert text.startswith("**HOLDS: ")
    assert "No checks were asked for." in text


def test_the_note_of_an_estimate_points_to_its_window(march: Evidence) -> None:
    text = note.estimate_note(march, march.row("irm.att.rain.dep_delay"), "1", "PARENT")
    assert text.startswith("**REJECTED: rain raises dep_delay by ")
    assert "average effect on the treated" in text
    assert "Failed: attrition.gap" in text
    assert "#/experiments/1/runs/PARENT" in text


def test_the_experiments_first_line(march: Evidence) -> None:
    first = note.experiment_note(march, "1").splitlines()[0]
    assert first.startswith(f"**{march.study.question}** 2013-03: 18.3 [13.8, 22.8] · promoted: ")
    assert [part in first for part in ("[review]", "[timeline]", "[estimands]")] == [True] * 3


def test_findings_are_worst_first_and_a_gate_shows_its_own_bound(march: Evidence) -> None:
    found = findings(march)
    assert [each.status for each in found] == sorted(
        (each.status for each in found), key=("fail", "warn", "pass").index
    )
    gate = found[0]
    assert line(gate) == "attrition.gap **FAIL** 0.0633 (max 0.02)"
    assert "selects on an outcome" in why(march, gate)
    assert all(each.name != "attrition.share" for each in found)


@pytest.mark.parametrize(
    ("r2", "says"), [(-0.002, "no fault where they cannot"), (-0.12, "take gentler learners")]
)
def test_a_model_that_learns_nothing_is_told_from_one_that_overfits(
    march: Evidence, r2: float, says: str
) -> None:
    worst = CheckRow(
        "plr.slope.rain.dep_delay", "nuisance_quality", "treatment_r2", r2, ">=", 0.0, False, "{}"
    )
    found = Finding("nuisance_quality.treatment_r2", "warn", worst, (">=", 0.0))
    assert says in why(march, found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.001, "0.001"),
        (-0.12345, "-0.123"),
        (27_000.0, "27,000"),
        (1.234e-5, "1.23e-05"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
        (None, "n/a"),
    ],
)
def test_numbers_in_sentences(value: float | None, expected: str) -> None:
    assert number(value) == expected


def test_intervals_show_two_digits_of_the_standard_error(march: Evidence) -> None:
    row = dict(march.main, theta=3.456, se=0.31, ci_low=2.85, ci_high=4.06)
    assert interval(row) == "3.46 [2.85, 4.06]"
    assert [decimals(se) for se in (310.0, 3.1, 0.31, 0.0, None)] == [0, 1, 2, 3, 3]
    assert significant(123.456) == 123.5
    assert shorten("abcdefghij", 7) == "abcd…ij"
