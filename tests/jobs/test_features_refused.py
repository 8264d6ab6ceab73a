"""Unit tables and histories that break their promises: all is said at once, nothing is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from estimators.errors import (
    ContractError,
    StudyError,
)
from jobs import features
from tests.jobs.visits_lake import FIRST, lake, nothing_written, plain, resolved, visit, visits

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("spark")]


SELECT = "SELECT visit, at, patient, clinic, dose, cost, pain"


def selecting(old: str, new: str) -> tuple[str, str]:
    """Another column list of the unit SQL."""
    return SELECT, SELECT.replace(old, new, 1)


BROKEN = {
    "empty_window": (
        ("< :window_end", "< :window_end AND visit < 0"),
        "no units from 2024-03-01 05:00 to 2024-04-01 04:00 UTC",
    ),
    "outside_window": (
        ("at < :window_end", "at < :window_end + INTERVAL 3 HOURS"),
        r"1 row whose at lies outside the window \(ids 900\)",
    ),
    "column_type": (
        selecting("cost", "array(cost) AS cost"),
        "cost is of type array; covariates are numbers, booleans or strings",
    ),
    "sql_failed": (
        selecting("cost", "CAST(patient AS INT) AS cost"),
        "the study's SQL fails on the data: CAST_INVALID_INPUT",
    ),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_promise_is_an_error_and_writes_nothing(tmp_path: Path, code: str) -> None:
    change, words = BROKEN[code]
    late = visit(900, datetime(2024, 4, 1, 5, tzinfo=UTC))
    profile = lake(tmp_path, [*visits(), late])
    with pytest.raises(ContractError, match=words) as caught:
        features.build(resolved(profile, plain(change)), profile)
    error = caught.value
    assert (error.code, error.exit_code, error.where.window) == (code, 4, "2024-03")
    assert error.remedy
    assert nothing_written(profile)


def test_all_broken_promises_are_listed_and_no_values(tmp_path: Path) -> None:
    extra = [
        visit(900, FIRST, dose=None, cost=float("inf")),
        visit(7, FIRST, clinic="a secret"),
        visit(901, FIRST, patient=None, cost=77.123456),
    ]
    profile = lake(tmp_path, [*visits(), *extra])
    with pytest.raises(ContractError) as caught:
        features.build(resolved(profile, plain()), profile)
    message = str(caught.value)
    for code in ("duplicate_ids", "null_cluster", "missing_treatment", "not_finite"):
        assert f"\n  {code}: " in message
    assert (caught.value.code, caught.value.exit_code) == ("duplicate_ids", 4)
    assert nothing_written(profile)
    assert "secret" not in message
    assert "77.1" not in message


WRONG_SQL: list[tuple[str, tuple[str, str]]] = [
    ("the table csv./etc/passwd", ("FROM visits", "FROM csv.`/etc/passwd`")),
    ("rand", (SELECT, SELECT.replace("cost", "cost + rand() AS cost"))),
    ("of doubles", (SELECT, SELECT.replace("cost", "avg(cost) OVER () AS cost"))),
    ("cannot be resolved", (SELECT, SELECT.replace("cost", "costs AS cost"))),
]


@pytest.mark.parametrize(("words", "change"), WRONG_SQL)
def test_sql_that_the_first_look_let_pass_is_refused_by_the_plan(
    tmp_path: Path, words: str, change: tuple[str, str]
) -> None:
    profile = lake(tmp_path)
    found = resolved(profile, plain())
    old, new = change
    units = found.loaded.study.units
    sql = units.model_copy(update={"sql": units.sql.replace(old, new)})
    changed_study = found.loaded.study.model_copy(update={"units": sql})
    unchecked = replace(found, loaded=replace(found.loaded, study=changed_study))
    with pytest.raises(StudyError, match=words) as caught:
        features.build(unchecked, profile)
    assert caught.value.exit_code == 3
    assert caught.value.faults[0].where.line == 6
    assert nothing_written(profile)


@pytest.mark.parametrize(
    ("known_at", "words"),
    [
        ("greatest(known, current_timestamp())", "reads the clock"),
        ("known) AS a, CAST((known", "Syntax error"),
        ("(SELECT max(at) FROM delta.`/etc`)", "the table delta./etc"),
    ],
)
def test_known_at_is_guarded_too(tmp_path: Path, known_at: str, words: str) -> None:
    profile = lake(tmp_path)
    found = resolved(profile)
    source = found.loaded.study.sources["visits"].model_copy(update={"known_at": known_at})
    other = found.loaded.study.model_copy(update={"sources": {"visits": source}})
    unchecked = replace(found, loaded=replace(found.loaded, study=other))
    with pytest.raises(StudyError, match=words):
        features.build(unchecked, profile)
    assert nothing_written(profile)


@pytest.mark.slow
def test_the_stage_alone_as_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    from tests.jobs.visits_lake import STUDY

    lake(tmp_path)
    (tmp_path / "visits.yaml").write_text(STUDY)
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    assert features.main(str(tmp_path / "visits.yaml"), "2024-03") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["status"], shown["rows"]) == ("features", "computed", 400)
    assert features.main(str(tmp_path / "visits.yaml"), "1999-01") == 4
    assert "no units" in capsys.readouterr().err
