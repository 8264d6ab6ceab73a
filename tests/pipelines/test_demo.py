"""The demo on all 336,776 flights: what it records, what it teaches, and that twice is once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.lake import open_table, read_record
from pipelines.demo import RUNS
from tests.pipelines.command import Ran, causeway_in

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(1500)]

TABLES = ("effects", "checks", "stages", "cells", "moments", "tallies")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(place: Path) -> Ran:
    began = time.monotonic()
    ran = causeway_in(place, place / "home")("demo", "--json", timeout=1400)
    print(f"first demo: {time.monotonic() - began:.0f} s")
    assert ran.code == 0, ran.err
    return ran


def test_it_runs_exactly_four_windows(first: Ran, place: Path) -> None:
    runs = first.object["runs"]
    assert [run["study"] for run in runs] == [study for study, _ in RUNS]
    assert [run["status"] for run in runs] == ["computed"] * 4
    rows = read_record(f"{place}/home/record", "effects").to_pylist()
    windows = {(row["study"], row["window_start"], row["window_end"]) for row in rows}
    assert len(windows) == 4


def test_the_twin_shrinks_and_its_checks_fail(first: Ran, place: Path) -> None:
    assert first.code == 0
    year = {}
    for row in read_record(f"{place}/home/record", "effects").to_pylist():
        if row["window_end"].year == 2014:
            year[row["study"], row["effect_id"]] = row["theta"]
    for effect in ("plr.slope.rain.dep_delay", "irm.att.rain.dep_delay"):
        assert year["rain_delays_overcontrolled", effect] < 0.5 * year["rain_delays", effect]
    failed = {
        (row["study"], row["check"])
        for row in read_record(f"{place}/home/record", "checks").to_pylist()
        if row["passed"] is False
    }
    assert ("rain_delays", "attrition") in failed
    assert {
        ("rain_delays_overcontrolled", "missingness"),
        ("rain_delays_overcontrolled", "overlap"),
    } <= failed


def test_a_second_demo_commits_nothing_and_starts_no_engine(first: Ran, place: Path) -> None:
    lake = sorted((place / "home" / "lake").iterdir())
    versions = {table.name: open_table(str(table)).version() for table in lake}
    rows = {name: read_record(f"{place}/home/record", name).num_rows for name in TABLES}
    log = place / "home" / "logs" / "spark-start.log"
    started = log.stat().st_mtime_ns
    began = time.monotonic()
    again = causeway_in(place, place / "home")("demo", "--json")
    seconds = time.monotonic() - began
    print(f"second demo: {seconds:.1f} s")
    assert again.code == 0, again.err
    assert [run["status"] for run in again.object["runs"]] == ["already_recorded"] * 4
    for before, after in zip(first.object["runs"], again.object["runs"], strict=True):
        assert (after["run_key"], after["mlflow"]) == (before["run_key"], before["mlflow"])
    assert {table.name: open_table(str(table)).version() for table in lake} == versions
    assert {name: read_record(f"{place}/home/record", name).num_rows for name in TABLES} == rows
    assert log.stat().st_mtime_ns == started, "Spark was started"


def test_the_text_teaches_with_the_numbers_of_the_record(first: Ran, place: Path) -> None:
    assert first.code == 0
    shown = causeway_in(place, place / "home")("demo")
    assert shown.code == 0, shown.err
    for lesson in ("depends on the cluster", "selects on an outcome", "consequences of rain"):
        assert lesson in shown.out
    assert "make ui" in shown.out
    assert "n/a" not in shown.out
