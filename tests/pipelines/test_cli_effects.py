"""`effects`: the current rows of a real record, with the verdicts of today's gates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.contracts import CHECKS, EFFECTS
from jobs.lake import append_once
from tests.pipelines.command import Causeway

STUDY = """\
study: small
sources: {t: {table: t, event_time: at}}
window: {every: 1 month, timezone: America/New_York}
units:
  sql: "SELECT id, at, d, y, x FROM t WHERE at >= :window_start AND at < :window_end"
  id: id
  time: at
treatments: {d: binary}
outcomes: {y: continuous}
covariates: [x]
effects: [{method: irm, estimand: ate}]
publish: {gates: {"irm.*": {overlap.ess_share: ">= 0.5"}}}
"""
EFFECT = "irm.ate.d.y"
JANUARY = (datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2013, 2, 1, 5, tzinfo=UTC))
FEBRUARY = (datetime(2013, 2, 1, 5, tzinfo=UTC), datetime(2013, 3, 1, 5, tzinfo=UTC))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write(
    home: Path,
    key: str,
    window: tuple[datetime, datetime],
    *,
    theta: float | None = 1.5,
    hours: int = 0,
    ess: float = 0.8,
) -> None:
    """One run of one effect, as the estimate stage writes it: checks first."""
    same = {"run_key": key, "study": "small", "window_start": window[0], "window_end": window[1]}
    nothing: dict[str, Any] = dict.fromkeys(EFFECTS.names)
    effect = nothing | same | {
        "effect_id": EFFECT, "method": "irm", "estimand": "ate", "treatment": "d", "outcome": "y",
        "n": 100, "folds": 5, "reps": 1, "theta": theta, "se": 0.5, "se_kind": "hc0", "level": 0.95,
        "ci_low": 0.5, "ci_high": 2.5, "naive": float("inf"), "status": "ok",
        "sources": [("t", 3)], "numerics": "n", "platform": "p",
        "recorded_at": NOON + timedelta(hours=hours),
    }  # fmt: skip
    check = same | {
        "effect_id": EFFECT, "check": "overlap", "metric": "ess_share", "value": ess, "op": ">=",
        "threshold": 0.5, "passed": ess >= 0.5, "detail": "{}",
    }  # fmt: skip
    root = f"{home}/record"
    append_once(root, "checks", key, pa.Table.from_pylist([check], schema=CHECKS))
    append_once(root, "effects", key, pa.Table.from_pylist([effect], schema=EFFECTS))


@pytest.fixture
def study(tmp_path: Path) -> str:
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    return str(file)


def test_an_empty_record_has_no_effects(here: Causeway, study: str) -> None:
    shown = here("effects", study, "--json")
    assert shown.code == 0
    assert shown.object == {"schema": "causeway.effects/1", "study": "small", "effects": []}
    assert "nothing is recorded" in here("effects", study).out


def test_every_column_of_the_contract_is_there(here: Causeway, study: str, home: Path) -> None:
    write(home, "a" * 64, JANUARY)
    (row,) = here("effects", study, "--json").object["effects"]
    assert set(row) == {*EFFECTS.names, "checks_failed"}
    assert row["window_start"] == "2013-01-01T05:00:00Z"
    assert row["sources"] == {"t": 3}
    assert row["naive"] is None, "infinity is null in JSON"
    assert row["checks_failed"] == []


def test_the_row_recorded_last_is_the_current_one(here: Causeway, study: str, home: Path) -> None:
    write(home, "b" * 64, JANUARY, theta=2.0, hours=1)
    write(home, "a" * 64, JANUARY, theta=1.0, hours=0)
    write(home, "c" * 64, FEBRUARY, theta=3.0)
    rows = here("effects", study, "--json").object["effects"]
    assert [(row["window_start"][:7], row["theta"]) for row in rows] == [
        ("2013-01", 2.0),
        ("2013-02", 3.0),
    ]


def test_one_window_can_be_asked_for(here: Causeway, study: str, home: Path) -> None:
    write(home, "a" * 64, JANUARY)
    write(home, "b" * 64, FEBRUARY)
    rows = here("effects", study, "--window", "2013-02", "--json").object["effects"]
    assert [row["run_key"] for row in rows] == ["b" * 64]


def test_failed_checks_and_the_verdict_of_the_gate_are_shown(
    here: Causeway, study: str, home: Path
) -> None:
    write(home, "a" * 64, JANUARY, ess=0.25)
    write(home, "b" * 64, FEBRUARY, ess=0.9)
    rows = here("effects", study, "--json").object["effects"]
    assert [row["checks_failed"] for row in rows] == [["overlap.ess_share"], []]
    text = here("effects", study).out
    assert "rejected" in text
    assert "holds" in text
    assert "1.50 [0.50, 2.50]" in text
    assert "2013-01" in text


def test_an_effect_without_a_number_is_null_in_json_and_a_word_in_text(
    here: Causeway, study: str, home: Path
) -> None:
    write(home, "a" * 64, JANUARY, theta=None)
    assert here("effects", study, "--json").object["effects"][0]["theta"] is None
    assert "not estimable" in here("effects", study).out


def test_another_study_of_the_same_home_is_left_out(
    here: Causeway, study: str, home: Path, tmp_path: Path
) -> None:
    write(home, "a" * 64, JANUARY)
    other = tmp_path / "other.yaml"
    other.write_text(STUDY.replace("study: small", "study: other"))
    shown = here("effects", str(other), "--json")
    assert shown.code == 0, shown.err
    assert shown.object["effects"] == []


def test_stdout_is_valid_json_for_strict_readers(here: Causeway, study: str, home: Path) -> None:
    write(home, "a" * 64, JANUARY)

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    json.loads(here("effects", study, "--json").out, parse_constant=refuse)
