from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from conf.profile import Profile
from estimators.errors import ContractError, NotMatureError, SourceError, StudyError
from jobs.lake import pin
from tests.jobs.visits_lake import TS, changed, lake, resolved, study, visit, visits, write


def test_pins_the_newest_version_and_the_tables_own_id(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    write(profile, "visits", [visit(1000, datetime(2024, 3, 30, tzinfo=UTC))])
    found = resolved(profile)
    table = DeltaTable(f"{profile.lake_root}/visits")
    assert found.sources == {"visits": 1}
    assert found.pins["visits"].table_id == str(table.metadata().id)
    assert not (tmp_path / "features").exists()


def test_an_older_version_has_its_own_commit_time(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    write(profile, "visits", visits(3))
    path = f"{profile.lake_root}/visits"
    times = {entry["version"]: entry["timestamp"] for entry in DeltaTable(path).history()}
    for version in (0, 1):
        found = pin("visits", path, version)
        assert found.committed_at == datetime.fromtimestamp(times[version] / 1000, UTC)
    assert pin("visits", path, 0).committed_at <= pin("visits", path, 1).committed_at


def test_a_declared_version_is_taken_and_a_missing_one_refused(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    write(profile, "visits", visits(3))
    at_0 = changed(('"{lake}/visits", ', '"{lake}/visits", version: 0, '))
    assert resolved(profile, at_0).sources == {"visits": 0}
    at_9 = changed(('"{lake}/visits", ', '"{lake}/visits", version: 9, '))
    with pytest.raises(SourceError, match="version 9 cannot be read; the newest is 1") as caught:
        resolved(profile, at_9)
    assert (caught.value.code, caught.value.exit_code) == ("version_gone", 5)


def test_a_missing_table_names_the_nearest(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    with pytest.raises(SourceError, match="did you mean 'visits'") as caught:
        resolved(profile, changed(("{lake}/visits", "{lake}/vists")))
    assert (caught.value.code, caught.value.exit_code) == ("source_gone", 5)
    assert caught.value.where.line == 3


@pytest.mark.parametrize(
    "table",
    ["/etc", "{lake}/../elsewhere", "{lake}/link", "s3://bucket/lake/../../x", "file:///etc"],
)
def test_paths_outside_the_roots_are_refused(tmp_path: Path, table: str) -> None:
    profile = lake(tmp_path / "home", allowed_roots=["{home}/more", "s3://bucket/lake"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / "lake" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match="the table") as caught:
        resolved(profile, changed(("{lake}/visits", table)))
    assert caught.value.exit_code == 3
    assert "allowed_roots" in caught.value.remedy


def test_another_allowed_root_may_hold_a_table(tmp_path: Path) -> None:
    other = Profile(name="other", home=tmp_path / "other")
    write(other, "visits", visits())
    profile = Profile(name="tests", home=tmp_path / "home", allowed_roots=[other.lake_root])
    assert resolved(profile, changed(("{lake}", other.lake_root))).sources == {"visits": 0}


def test_all_columns_that_are_not_there_are_listed_at_once(tmp_path: Path) -> None:
    wrong = changed(
        ("event_time: at", "event_time: att"),
        ("known_at: known", 'known_at: "coalesce(knwn, at)"'),
        ("avg(pain)", "avg(clinic)"),
        ("sum(cost)", "sum(costs)"),
    )
    with pytest.raises(StudyError) as caught:
        resolved(lake(tmp_path), wrong)
    found = {fault.found: fault.nearest for fault in caught.value.faults}
    assert found == {
        "the column 'att', which visits@0 does not have": "at",
        "the column 'knwn', which visits@0 does not have": "known",
        "the column 'clinic' of visits@0, which is of type string": None,
        "the column 'costs', which visits@0 does not have": "cost",
    }
    assert all(fault.where.line for fault in caught.value.faults)


def test_history_of_an_outcome_with_a_horizon_needs_known_at(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="looks ahead") as caught:
        resolved(lake(tmp_path), changed((", known_at: known", "")))
    error = caught.value
    assert (error.code, error.exit_code) == ("leak", 4)
    assert (error.where.table, error.where.column, error.where.window) == (
        "visits", "pain_7d", "2024-03",
    )  # fmt: skip


def test_history_of_an_outcome_that_is_known_at_once_needs_nothing(tmp_path: Path) -> None:
    plain = changed((", known_at: known", ""), ("horizon: 1 day, ", ""))
    assert resolved(lake(tmp_path), plain).sources == {"visits": 0}


def test_a_window_is_not_mature_before_its_outcomes_are_known(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    month = f"{now:%Y-%m}"
    with pytest.raises(NotMatureError, match="outcomes are known from") as caught:
        resolved(lake(tmp_path), study(), month)
    error = caught.value
    assert (error.code, error.exit_code, error.retryable) == ("not_mature", 75, False)
    assert error.where.window == month


def test_the_horizon_counts(tmp_path: Path) -> None:
    """A day of which the end, but not the horizon, lies behind the commit."""
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"
    utc = ("timezone: America/New_York", "timezone: UTC")
    daily = changed(utc, ("1 month", "1 day"), ("horizon: 1 day", "horizon: 2 days"))
    with pytest.raises(NotMatureError):
        resolved(lake(tmp_path / "a"), daily, yesterday)
    short = changed(utc, ("1 month", "1 day"), ("horizon: 1 day, ", ""))
    assert resolved(lake(tmp_path / "b"), short, yesterday).sources == {"visits": 0}


def test_a_watermark_is_read_off_the_statistics(tmp_path: Path) -> None:
    marked = changed(("event_time: at", 'event_time: at, watermark: "max(known)"'))
    profile = lake(tmp_path)  # the last is known at midnight after 2024-03-28
    with pytest.raises(NotMatureError, match=r"visits is max\(known\) up to 2024-03-29 00:00"):
        resolved(profile, marked)
    write(profile, "visits", [visit(1000, datetime(2024, 4, 3, tzinfo=UTC))])
    assert resolved(profile, marked).sources == {"visits": 1}


def test_a_table_without_a_time_does_not_hold_a_window_back(tmp_path: Path) -> None:
    """Its newest commit may be older than the window; those with a time decide."""
    profile = lake(tmp_path)
    schema = pa.schema([("clinic", pa.string()), ("opened", TS)])
    write(profile, "clinics", [{"clinic": "north", "opened": None}], schema)
    both = changed(("sources:\n", 'sources:\n  clinics: {table: "{lake}/clinics"}\n'))
    assert set(resolved(profile, both).sources) == {"clinics", "visits"}


def test_a_study_without_windows_is_always_mature(tmp_path: Path) -> None:
    whole = changed(
        ("window: {every: 1 month, timezone: America/New_York}\n", ""),
        (" WHERE at >= :window_start AND at < :window_end", ""),
    )
    assert resolved(lake(tmp_path), whole, None).span.label == "all"
