"""Pins: the newest, those as of a window, and those that a backfill wrote down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conf.load import load_study
from conf.windows import Span, parse_span, split
from estimators.errors import NotMatureError, SourceError
from jobs.lake import read_record
from jobs.pins import (
    PlannedWindow,
    last_backfill,
    read_histories,
    record_backfill,
    versions,
)
from tests.jobs import prebuilt

BY_COMMIT = prebuilt.STUDY.replace(', watermark: "max(at)"', "")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prebuilt.write_lake(tmp_path)
    return tmp_path


def span(file: Path, label: str) -> Span:
    return parse_span(label, load_study(str(file)).study.window)


def commit_times(table: Path, *days: str) -> None:
    """Give a table's versions other commit times, as a lake that grew over months has them."""
    logs = sorted((table / "_delta_log").glob("*.json"))
    assert len(logs) == len(days)
    for log, day in zip(logs, days, strict=True):
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            if "commitInfo" in line:
                line["commitInfo"]["timestamp"] = int(moment.timestamp() * 1000)
        log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")


def test_now_is_the_newest_of_every_source(home: Path) -> None:
    file = prebuilt.write_study(home)
    histories = read_histories(load_study(str(file)), prebuilt.place(home))
    assert histories.now == {"orders": 2}
    assert set(histories.table_ids) == {"orders"}


@pytest.mark.parametrize(
    ("window", "version"), [("2024-01", 0), ("2024-02", 1), ("2024-03", 2), ("2024-01..2024-02", 1)]
)
def test_as_of_window_is_the_first_version_whose_watermark_has_passed(
    home: Path, window: str, version: int
) -> None:
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    histories = read_histories(load_study(str(file)), place)
    chosen = histories.as_of(span(file, window))
    assert chosen == {"orders": version}
    assert prebuilt.resolved(file, window, place, **chosen).sources == chosen, "it may run"


def test_without_a_watermark_the_commit_times_decide(home: Path) -> None:
    file, place = prebuilt.write_study(home, BY_COMMIT), prebuilt.place(home)
    commit_times(home / "lake" / "orders", "2024-01-20", "2024-02-03", "2024-03-09")
    histories = read_histories(load_study(str(file)), place)
    assert histories.as_of(span(file, "2024-01")) == {"orders": 1}
    assert histories.as_of(span(file, "2024-02")) == {"orders": 2}


def test_a_clock_that_was_set_back_moves_no_version_before_an_older_one(home: Path) -> None:
    commit_times(home / "lake" / "orders", "2024-02-20", "2024-01-03", "2024-03-09")
    moments = [each.committed_at for each in versions(str(home / "lake" / "orders"))]
    assert moments == sorted(moments)
    assert [each.number for each in versions(str(home / "lake" / "orders"))] == [0, 1, 2]


def test_a_window_that_is_not_over_gets_the_newest_and_may_not_run(home: Path) -> None:
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    histories = read_histories(load_study(str(file)), place)
    chosen = histories.as_of(span(file, "2024-05"))
    assert chosen == {"orders": 2}
    with pytest.raises(NotMatureError):
        prebuilt.resolved(file, "2024-05", place, **chosen)


def test_a_version_that_the_study_names_stays(home: Path) -> None:
    text = prebuilt.STUDY.replace('watermark: "max(at)"', 'watermark: "max(at)", version: 1')
    file = prebuilt.write_study(home, text)
    histories = read_histories(load_study(str(file)), prebuilt.place(home))
    assert histories.now == histories.as_of(span(file, "2024-01")) == {"orders": 1}


def test_a_log_that_does_not_reach_back_is_named(home: Path) -> None:
    file, place = prebuilt.write_study(home, BY_COMMIT), prebuilt.place(home)
    table = home / "lake" / "orders"
    from deltalake import DeltaTable

    DeltaTable(str(table)).create_checkpoint()
    for log in sorted((table / "_delta_log").glob("0*.json"))[:2]:
        log.unlink()
    histories = read_histories(load_study(str(file)), place)
    with pytest.raises(SourceError) as raised:
        histories.as_of(span(file, "2024-01"))
    assert raised.value.code == "version_gone"
    assert raised.value.where.table == "orders"
    assert "--pin now" in raised.value.remedy


def test_a_backfill_is_read_back_as_it_was_written(home: Path) -> None:
    file, root = prebuilt.write_study(home), f"{home}/record"
    study = load_study(str(file)).study
    assert last_backfill(root, study) is None
    spans = split("2024-01", "2024-03", study.window)
    windows = [PlannedWindow(each, f"key {each.label}", {"orders": 2}) for each in spans]
    record_backfill(root, study.study, windows[:1], pin="now", refresh=False)
    plan = record_backfill(root, study.study, windows[::-1], pin="as-of-window", refresh=True)
    record_backfill(root, "other", windows[:2], pin="now", refresh=False)
    found = last_backfill(root, study)
    assert found is not None
    assert found.windows == tuple(windows), "in the order of time"
    assert (found.name, found.pin, found.refresh) == (plan.name, "as-of-window", True)
    assert read_record(root, "backfills").num_rows == 6
