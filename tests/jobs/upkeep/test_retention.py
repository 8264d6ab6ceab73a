"""Upkeep never breaks a pin, on real Delta tables under a home and beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from conf.profile import Profile, Retention
from estimators.errors import SourceError
from jobs import lake
from jobs.contracts import BACKFILLS, EFFECTS, STAGES
from jobs.lake import append_once, read_record, record_path
from jobs.upkeep.retention import days, is_gone, maintain, pins
from tests.jobs import record_sample as sample

DAY = datetime(2026, 1, 1, tzinfo=UTC)
KEEP = Retention(days=0, small_files=2)


def profile(home: Path) -> Profile:
    return Profile(name="local", home=home, retention=KEEP)


def table(path: Path, versions: int = 6) -> str:
    """A table whose every commit after the first overwrites the one row; its id."""
    for version in range(versions):
        write_deltalake(str(path), pa.table({"x": [float(version) + 0.5]}), mode="overwrite")
    return str(DeltaTable(str(path)).metadata().id)


def run(
    home: Path,
    sources: Mapping[str, int],
    ids: Mapping[str, str] | None = None,
    *,
    stage: str = "estimate",
    name: str = "estimate",
    version: int = 1,
    text: str = "",
) -> None:
    """A row of the ledger."""
    row = {
        "stage": stage,
        "key": sample.key(stage, name, str(sources)),
        "study": "rain_delays",
        "window_start": DAY,
        "window_end": DAY + timedelta(days=31),
        "table": "features/rain_delays" if stage == "features" else "effects",
        "version": version,
        "rows": 1,
        "digest": "",
        "seconds": 0.1,
        "sources": list(sources.items()),
        "numerics": "",
        "platform": "",
        "detail": json.dumps({"table_ids": dict(ids), "text": text} if ids else {}),
        "recorded_at": DAY,
    }
    rows = pa.Table.from_pylist([row], schema=STAGES)
    append_once(profile(home).record_root, "stages", f"{stage}:{row['key']}", rows)


def value(path: Path, version: int) -> float:
    (found,) = lake.read(str(path), version=version)["x"].to_pylist()
    return float(found)


def test_a_pinned_version_stays_and_the_others_go(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    ids = {"flights": table(place)}
    run(tmp_path, {"flights": 1}, ids)
    run(tmp_path, {"flights": 3}, ids)
    found = {each.table: each for each in maintain(profile(tmp_path))}
    kept = found["lake/flights"]
    assert (kept.pinned, kept.gone, kept.removed) == ((1, 3), (), 3)
    assert [value(place, version) for version in (1, 3, 5)] == [1.5, 3.5, 5.5]
    for version in (0, 2, 4):
        assert is_gone(str(place), version)
        with pytest.raises(SourceError) as caught:
            value(place, version)
        assert (caught.value.code, caught.value.exit_code) == ("version_gone", 5)
        assert caught.value.where.version == version
        assert caught.value.remedy


def test_a_second_time_there_is_nothing_to_do_and_no_version_moves(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    run(tmp_path, {"flights": 1}, {"flights": table(place)})
    maintain(profile(tmp_path))
    before = DeltaTable(str(place)).version()
    again = {each.table: each for each in maintain(profile(tmp_path))}
    assert again["lake/flights"].removed == 0
    assert DeltaTable(str(place)).version() == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    run(tmp_path, {"flights": 1}, {"flights": table(place)})
    files = sorted(str(path) for path in tmp_path.rglob("*"))
    found = {each.table: each for each in maintain(profile(tmp_path), dry_run=True)}
    assert found["lake/flights"].removed == 4
    assert sorted(str(path) for path in tmp_path.rglob("*")) == files


def test_a_run_that_does_not_name_its_tables_holds_its_version_in_every_one(
    tmp_path: Path,
) -> None:
    for name in ("flights", "weather"):
        table(tmp_path / "lake" / name)
    run(tmp_path, {"flights": 2})
    assert pins(profile(tmp_path).record_root).anywhere == {2}
    maintain(profile(tmp_path))
    for name in ("flights", "weather"):
        assert value(tmp_path / "lake" / name, 2) == 2.5
        assert is_gone(str(tmp_path / "lake" / name), 1)


def test_what_a_backfill_is_going_to_use_is_pinned(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    run(tmp_path, {"flights": 1}, {"flights": table(place)})
    row = {
        "backfill": "b", "study": "rain_delays", "window_start": DAY, "window_end": DAY,
        "study_key": "k", "pins": [("flights", 4)], "pin": "now", "refresh": False,
        "recorded_at": DAY,
    }  # fmt: skip
    rows = pa.Table.from_pylist([row], schema=BACKFILLS)
    append_once(profile(tmp_path).record_root, "backfills", "backfill:b", rows)
    maintain(profile(tmp_path))
    assert value(place, 4) == 4.5


def test_features_stay_at_the_versions_that_were_handed_on(tmp_path: Path) -> None:
    place = tmp_path / "features" / "rain_delays"
    table(place)
    run(tmp_path, {"flights": 9}, stage="features", version=2)
    maintain(profile(tmp_path))
    assert value(place, 2) == 2.5
    assert is_gone(str(place), 3)


def test_the_record_is_compacted_without_losing_a_row_or_a_key(tmp_path: Path) -> None:
    recorded = [sample.record(tmp_path, label) for label in sample.LABELS]
    root = recorded[0].profile.record_root
    before = read_record(root, "effects").sort_by("effect_id").sort_by("run_key")
    found = {each.table: each for each in maintain(profile(tmp_path))}
    assert (found["record/effects"].files_before, found["record/effects"].files_after) == (3, 1)
    after = read_record(root, "effects").sort_by("effect_id").sort_by("run_key")
    assert after.num_rows == before.num_rows == 36
    assert set(after["run_key"].to_pylist()) == {each.run_key for each in recorded}
    for each in recorded:
        assert not append_once(root, "effects", each.run_key, EFFECTS.empty_table())
    sample.record(tmp_path, "2013-04")
    assert len(read_record(root, "effects")) == 48


def test_files_are_kept_as_long_as_the_profile_says(tmp_path: Path) -> None:
    for label in sample.LABELS:
        sample.record(tmp_path, label)
    patient = Profile(name="local", home=tmp_path, retention=Retention(days=30, small_files=2))
    maintain(patient)
    path = Path(record_path(patient.record_root, "effects"))
    assert len(list(path.glob("*.parquet"))) == 4, "three small ones for thirty days, and their sum"


def test_a_pinned_version_that_is_gone_is_named_and_stops_nothing(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    ids = {"flights": table(place)}
    DeltaTable(str(place)).vacuum(0, dry_run=False, enforce_retention_duration=False)
    run(tmp_path, {"flights": 1}, ids)
    run(tmp_path, {"flights": 99}, ids)
    found = {each.table: each for each in maintain(profile(tmp_path))}
    assert found["lake/flights"].gone == (1, 99)


def test_a_table_that_delta_rs_must_not_touch_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "lake" / "flights"
    table(place)
    log = place / "_delta_log" / "00000000000000000006.json"
    protocol = {
        "protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": ["deletionVectors"],
        }
    }
    log.write_text(json.dumps(protocol) + "\n")
    run(tmp_path, {"flights": 1}, {"flights": str(DeltaTable(str(place)).metadata().id)})
    (kept,) = [each for each in maintain(profile(tmp_path)) if each.table == "lake/flights"]
    assert "deletion vectors" in kept.note
    assert len(list(place.glob("*.parquet"))) == 6


def test_sources_elsewhere_are_looked_at_by_name_and_never_touched(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "theirs"
    table_id = table(place)
    DeltaTable(str(place)).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 days"}, raise_if_not_exists=False
    )
    text = f"study: rain_delays\nsources:\n  flights: {{table: {place}}}\n"
    run(home, {"flights": 2}, {"flights": table_id}, text=text)
    removed = next(place.glob("*.parquet"))
    (kept,) = [each for each in maintain(profile(home)) if each.table == str(place)]
    assert kept.at_risk == (2,)
    assert "starts from their features" in kept.note
    assert removed.exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("interval 1 week", 7), ("interval 36 hours", 1.5), ("30 days", 30), ("", 7), ("soon", 7)],
)
def test_deltas_durations(text: str, wanted: float) -> None:
    assert days(text) == wanted


@pytest.mark.parametrize("kind", ["bins", "gram", "register", "reproduce"])
def test_what_a_killed_process_left_is_swept_after_a_day(tmp_path: Path, kind: str) -> None:
    lake_table = tmp_path / "lake" / "flights"
    table(lake_table, versions=1)
    old, young = (tmp_path / "tmp" / f"{kind}-{name}" for name in ("old", "young"))
    for each in (old, young):
        (each / "record").mkdir(parents=True)
        (each / "record" / "part").write_text("rows")
        (each / "lake").symlink_to(lake_table.parent, target_is_directory=True)
    two_days_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(old, (two_days_ago, two_days_ago))
    dry = {each.table: each for each in maintain(profile(tmp_path), dry_run=True)}
    assert (dry[f"tmp/{kind}-old"].removed, dry[f"tmp/{kind}-old"].files_after) == (1, 1)
    assert old.exists()
    swept = {each.table for each in maintain(profile(tmp_path)) if each.table.startswith("tmp/")}
    assert swept == {f"tmp/{kind}-old"}
    assert not old.exists()
    assert (young / "record" / "part").exists()
    assert value(lake_table, 0) == 0.5, "what a link points to stays"
