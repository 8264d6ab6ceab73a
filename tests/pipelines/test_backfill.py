"""Backfills on features that are there already: pins, skipping, failures, retries; no engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import crossfit
from jobs.failpoints import VARIABLE
from jobs.lake import read_record
from pipelines.backfill import backfill
from pipelines.backfill_report import Report, Request, text
from pipelines.run import run_study
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway

FIRST, LAST = prebuilt.MONTHS[0], prebuilt.MONTHS[-1]
Backfill = Callable[..., Report]


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Say nothing."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("CAUSEWAY_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    prebuilt.write_lake(tmp_path)
    return tmp_path


@pytest.fixture
def study(home: Path) -> Path:
    """The study, whose features are there on the newest version."""
    file = prebuilt.write_study(home)
    prebuilt.prebuild(file, prebuilt.MONTHS, prebuilt.place(home))
    return file


def run(study: Path, *, first: str | None = FIRST, last: str | None = LAST, **given: Any) -> Report:
    return backfill(Request(str(study), first, last, **given), silent)


def statuses(report: Report) -> dict[str, str]:
    return {each.span.label: each.status for each in report.ended if each.span}


def digests(report: Report) -> dict[str, str | None]:
    return {each.span.label: each.digest for each in report.ended if each.span}


def rows(home: Path, table: str) -> list[dict[str, Any]]:
    return list(read_record(f"{home}/record", table).to_pylist())


def break_crossfit(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    """Make one window fail where the real stage would."""
    real = crossfit.run

    def broken(resolved: Any, *args: Any, **options: Any) -> Any:
        if resolved.span.label == label:
            raise OSError(28, "No space left on device")
        return real(resolved, *args, **options)

    monkeypatch.setattr(crossfit, "run", broken)


def test_windows_equal_single_runs_digest_for_digest_in_any_order(
    home: Path, study: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    report = run(study, parallel=2)
    assert report.error is None
    assert statuses(report) == dict.fromkeys(prebuilt.MONTHS, "computed")
    other = tmp_path_factory.mktemp("single")
    (other / "lake").symlink_to(home / "lake")
    monkeypatch.setenv("CAUSEWAY_HOME", str(other))
    prebuilt.prebuild(study, prebuilt.MONTHS, prebuilt.place(other))
    single = {}
    for window in reversed(prebuilt.MONTHS):
        alone = backfill(Request(str(study), window, window), silent)
        single |= digests(alone)
    assert single == digests(report)
    keys = {each.run_key for each in report.ended}
    assert keys == {row["run_key"] for row in rows(other, "effects")}


def test_a_backfilled_window_is_what_run_finds(study: Path) -> None:
    report = run(study)
    single = run_study(str(study), FIRST, progress=silent)
    assert single.status == "already_recorded", single.error
    assert single.as_dict()["run_key"] == report.ended[0].run_key
    assert single.mlflow == report.ended[0].mlflow


def test_recorded_windows_are_skipped_though_the_sources_moved_on(home: Path, study: Path) -> None:
    first = run(study)
    prebuilt.write_month(home, "2024-04")
    before = {name: rows(home, name) for name in ("effects", "stages", "backfills")}
    again = run(study)
    assert again.error is None
    assert statuses(again) == dict.fromkeys(prebuilt.MONTHS, "already_recorded")
    assert digests(again) == digests(first)
    assert [each.as_dict()["mlflow"] for each in again.ended] == [
        each.as_dict()["mlflow"] for each in first.ended
    ]
    assert {name: rows(home, name) for name in before} == before, "nothing was written"


@pytest.mark.slow
def test_another_study_is_not_skipped(home: Path, study: Path) -> None:
    run(study)
    changed = prebuilt.write_study(home / "b", prebuilt.STUDY.replace("  - {method: plr}\n", ""))
    report = run(changed)
    assert statuses(report) == dict.fromkeys(prebuilt.MONTHS, "computed")
    assert {len(each.found.effects) for each in report.ended if each.found} == {1}


def test_refresh_stops_at_rows_that_did_not_change(home: Path, study: Path) -> None:
    first = run(study)
    prebuilt.write_month(home, "2024-04")
    prebuilt.prebuild(study, prebuilt.MONTHS, prebuilt.place(home))
    before = len(rows(home, "effects"))
    again = run(study, refresh=True)
    assert statuses(again) == dict.fromkeys(prebuilt.MONTHS, "already_recorded")
    assert digests(again) == digests(first)
    assert len(rows(home, "effects")) == before
    assert {row["pins"][0][1] for row in rows(home, "backfills") if row["refresh"]} == {3}


def test_refresh_computes_rows_that_changed(home: Path, study: Path) -> None:
    first = run(study)
    prebuilt.write_month(home, LAST, units=80, shift=9.0)  # late rows of March
    prebuilt.prebuild(study, prebuilt.MONTHS, prebuilt.place(home))
    again = run(study, refresh=True)
    assert statuses(again) == {
        "2024-01": "already_recorded", "2024-02": "already_recorded", LAST: "computed",
    }  # fmt: skip
    assert digests(again)[LAST] != digests(first)[LAST]


def test_as_of_window_pins_what_a_schedule_would_have_pinned(home: Path) -> None:
    study, place = prebuilt.write_study(home), prebuilt.place(home)
    for version, month in enumerate(prebuilt.MONTHS):
        prebuilt.prebuild(study, (month,), place, orders=version)
    report = run(study, pin="as-of-window")
    assert report.error is None
    sources = {row["window_start"].month: dict(row["sources"]) for row in rows(home, "effects")}
    assert sources == {1: {"orders": 0}, 2: {"orders": 1}, 3: {"orders": 2}}


def test_a_failed_window_stops_no_other_and_is_retried_on_its_pins(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_crossfit(patch, "2024-02")
        report = run(study)
    assert statuses(report) == {
        "2024-01": "computed", "2024-02": "failed", "2024-03": "computed",
    }  # fmt: skip
    assert report.error is not None
    assert (report.error.exit_code, report.error.code) == (9, "backfill_partly_failed")
    assert "2024-02 (disk_full)" in report.error.message
    failed = report.ended[1].as_dict()
    assert failed["error"]["code"] == "disk_full"
    assert [stage["status"] for stage in failed["stages"]] == [
        "computed", "reused", "not_run", "not_run", "not_run",
    ]  # fmt: skip
    prebuilt.write_month(home, "2024-04")
    again = run(study, first=None, last=None, retry_failed=True)
    assert again.error is None
    assert statuses(again) == {"2024-02": "computed"}
    (row,) = [row for row in rows(home, "effects") if row["window_start"].month == 2][:1]
    assert dict(row["sources"]) == {"orders": 2}, "its original pin"
    nothing = run(study, first=None, last=None, retry_failed=True)
    assert (nothing.ended, nothing.error) == ([], None)
    assert "nothing to do" in text(nothing)


@pytest.mark.slow
def test_a_failed_refresh_is_retried_though_the_record_has_an_older_run(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study)
    prebuilt.write_month(home, "2024-02", units=80, shift=9.0)
    prebuilt.prebuild(study, prebuilt.MONTHS, prebuilt.place(home))
    with monkeypatch.context() as patch:
        break_crossfit(patch, "2024-02")
        assert statuses(run(study, refresh=True))["2024-02"] == "failed"
    again = run(study, first=None, last=None, retry_failed=True)
    assert statuses(again) == {"2024-02": "computed"}, "the others had not changed"
    assert again.request.refresh


def test_a_window_that_is_not_mature_is_said_and_is_75(study: Path) -> None:
    report = run(study, last="2024-04")
    assert statuses(report)["2024-04"] == "not_mature"
    assert report.error is not None
    assert (report.error.exit_code, report.error.code) == (75, "not_mature")
    assert "2024-05-01" in str(report.ended[-1].error)


@pytest.mark.slow
def test_a_registration_that_a_crash_prevented_is_made_up_for(home: Path, study: Path) -> None:
    body = f"""
        from pipelines.backfill import backfill
        from pipelines.backfill_report import Request
        print(backfill(Request({str(study)!r}, {FIRST!r}, {LAST!r}), lambda *_: None).error)
    """
    for point in ("estimate.after_effects", "register.before_parent", "crossfit.after_moments"):
        killed = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(body)],
            env=os.environ | {VARIABLE: point, "CAUSEWAY_HOME": str(home)},
            cwd=Path(__file__).parents[2],
            check=False,
            timeout=200,
        )
        assert killed.returncode in (0, -signal.SIGKILL)
    report = run(study)
    assert report.error is None
    assert set(statuses(report)) == set(prebuilt.MONTHS)
    effects = [(row["run_key"], row["effect_id"]) for row in rows(home, "effects")]
    assert len(effects) == len(set(effects)) == 2 * len(prebuilt.MONTHS)
    registered = [row["key"] for row in rows(home, "stages") if row["stage"] == "register"]
    assert sorted(registered) == sorted(each.run_key or "" for each in report.ended)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "--from 2013-01 --to"),
        (("--from", "2024-01"), 2, "first and its last window"),
        (("--from", "2024-03", "--to", "2024-01"), 2, "lies before"),
        (("--from", "2024-01", "--to", "2024-02", "--parallel", "0"), 2, "--parallel"),
        (("--retry-failed",), 2, "no backfill of orders"),
        (("--retry-failed", "--from", "2024-01"), 2, "leave out --from"),
    ],
)
def test_usage_is_checked_before_anything_runs(
    here: Causeway, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    prebuilt.write_lake(tmp_path / "home")
    study = prebuilt.write_study(tmp_path)
    ran = here("backfill", str(study), *arguments)
    assert ran.code == code
    assert says in ran.err


def test_the_command_prints_the_contracts_object(here: Causeway, home: Path, study: Path) -> None:
    ran = here("backfill", str(study), "--from", FIRST, "--to", LAST, "--json",
               CAUSEWAY_HOME=str(home))  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.object
    assert found["schema"] == "causeway.backfill/1"
    assert [each["schema"] for each in found["windows"]] == ["causeway.run/1"] * 3
    assert found["summary"] == {
        "computed": 3, "already_recorded": 0, "not_mature": 0, "failed": 0,
    }  # fmt: skip
    assert found["windows"][0]["window"]["start"] == "2024-01-01T00:00:00Z"
    assert [stage["name"] for stage in found["windows"][0]["stages"]] == [
        "resolve", "features", "crossfit", "estimate", "register",
    ]  # fmt: skip
    shown = here("backfill", str(study), "--from", FIRST, "--to", LAST, CAUSEWAY_HOME=str(home))
    assert "orders: 3 already recorded" in shown.out


def test_retrying_takes_exactly_what_failed_and_not_what_was_never_reached(
    home: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = crossfit.run
    with monkeypatch.context() as patch:
        reached: list[str] = []

        def broken(resolved: Any, *args: Any, **options: Any) -> Any:
            reached.append(resolved.span.label)
            if resolved.span.label == "2024-02":
                deadline = time.monotonic() + 60
                while not rows(home, "failures") and time.monotonic() < deadline:
                    time.sleep(0.01)  # the first window's failure is written meanwhile
                raise KeyboardInterrupt  # Ctrl-C in the second window
            if resolved.span.label == "2024-01":
                raise OSError(28, "No space left on device")
            return real(resolved, *args, **options)

        patch.setattr(crossfit, "run", broken)
        report = run(study)
    assert report.error is not None
    assert report.error.code == "interrupted"
    assert reached == ["2024-01", "2024-02"]
    assert [(row["window_start"].month, row["error_code"]) for row in rows(home, "failures")] == [
        (1, "disk_full")
    ]
    prebuilt.write_month(home, "2024-04")
    with monkeypatch.context() as patch:  # the retry is interrupted too, before the window

        def interrupted(*args: Any, **options: Any) -> Any:
            raise KeyboardInterrupt

        patch.setattr(crossfit, "run", interrupted)
        assert run(study, first=None, last=None, retry_failed=True).ended == []
    again = run(study, first=None, last=None, retry_failed=True)
    assert again.error is None
    assert statuses(again) == {"2024-01": "computed"}
    assert {dict(row["sources"])["orders"] for row in rows(home, "effects")} == {2}
    nothing = run(study, first=None, last=None, retry_failed=True)
    assert (nothing.ended, nothing.error) == ([], None)


def test_a_failure_that_cannot_be_written_down_is_said(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    break_crossfit(monkeypatch, "2024-02")
    monkeypatch.setattr("pipelines.windows.record_failure", full)
    report = run(study)
    assert report.error is not None
    assert report.error.code == "backfill_partly_failed"
    assert "2024-02 (disk_full)" in report.error.remedy
    assert "the same command again" in report.error.remedy
