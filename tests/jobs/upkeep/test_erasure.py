"""Erasing a person: from files, old versions and the log; recorded, found by key, never named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from estimators.errors import CausewayError, SourceError, UsageError
from jobs import lake
from jobs.contracts import CELLS, SCORES, STAGES
from jobs.failpoints import VARIABLE
from jobs.lake import append_once, read_record
from jobs.ledger import Stage, StageName
from jobs.reproduce import erasures
from jobs.upkeep import erasure
from jobs.upkeep.erasure import Erased, Order, erase_ids, erase_rows, explain
from jobs.upkeep.row_filter import parse_filter
from jobs.windows import RecordedRun
from tests.jobs import record_sample as sample

PERSON = "patient-4711-zimmermann"
OTHERS = ("aaa", "mmm", "zzz")
ORDER = Order("deletion request 17", "Ada")
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def flights(home: Path) -> Path:
    """Three versions; the person is in the second and, rewritten, in the third."""
    path = home / "lake" / "flights"
    first = pa.table({"who": ["aaa", "mmm"], "x": [0.5, 1.5]})
    write_deltalake(str(path), first)
    second = pa.table({"who": [PERSON, "zzz"], "x": [2.5, 3.5]})
    write_deltalake(str(path), second, mode="append")
    DeltaTable(str(path)).optimize.compact()
    return path


def features(home: Path) -> Path:
    path = home / "features" / "rain_delays"
    for key, units in (("f" * 64, [PERSON, "aaa"]), ("e" * 64, ["aaa", "zzz"])):
        rows = pa.table({
            "features_key": [key] * 2, "unit_id": units, "cluster_id": ["c1", "c2"], "y": [1.5, 2.5]
        })  # fmt: skip
        write_deltalake(str(path), rows, mode="append", partition_by=["features_key"])
    return path


def sums(home: Path) -> None:
    """Scores and cells of one crossfit key of the study, and of another study's."""
    root = sample.profile(home).record_root
    for study, key in (("rain_delays", "c" * 64), ("other", "d" * 64)):
        scores = [
            {
                "crossfit_key": key, "effect_id": "e", "rep": 0, "fold": 0, "unit_id": unit,
                "cluster_id": None, "weight": 1.0, "psi_a": -1.0, "psi_b": 2.5,
            }
            for unit in (PERSON, "aaa")
        ]  # fmt: skip
        cells = [
            {
                "crossfit_key": key, "rep": 0, "fold": 0, "cell": unit, "group_by": None,
                "group_value": None, "effects": ["e"], "n": [1], "w": [1.0], "a": [-1.0],
                "b": [2.5],
            }
            for unit in (PERSON, "aaa")
        ]  # fmt: skip
        stage = {
            "stage": "crossfit", "key": key, "study": study, "window_start": DAY,
            "window_end": DAY + timedelta(days=1), "table": "cells", "version": 1, "rows": 2,
            "digest": "", "seconds": 0.1, "sources": [], "numerics": "", "platform": "",
            "detail": "{}", "recorded_at": DAY,
        }  # fmt: skip
        append_once(root, "scores", key, pa.Table.from_pylist(scores, schema=SCORES))
        append_once(root, "cells", key, pa.Table.from_pylist(cells, schema=CELLS))
        append_once(root, "stages", f"crossfit:{key}", pa.Table.from_pylist([stage], schema=STAGES))


def traces(folder: Path) -> list[str]:
    """Files anywhere below that still hold the person's id, compressed pages decoded."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += repr(pq.read_table(path).to_pydict()).encode()
            if PERSON.encode() in content:
                found.append(str(path.relative_to(folder)))
    return found


def test_no_file_and_no_log_knows_the_person_any_more(tmp_path: Path) -> None:
    path = flights(tmp_path)
    assert traces(path), "the test looks at the right places"
    (done,) = erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    assert (done.table, done.rows, done.files) == ("lake/flights", 1, 2)
    assert traces(tmp_path) == []
    rows = lake.read(str(path)).to_pylist()
    assert sorted(row["who"] for row in rows) == ["aaa", "mmm", "zzz"]
    assert lake.read(str(path), version=0).num_rows == 2, "a version without the person stays"


def test_versions_that_lost_files_are_named_and_gone(tmp_path: Path) -> None:
    path = flights(tmp_path)
    table_id = str(DeltaTable(str(path)).metadata().id)
    (done,) = erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    assert done.versions == (1, 2)
    for version in done.versions:
        with pytest.raises(SourceError) as caught:
            lake.read(str(path), version=version)
        assert caught.value.code == "version_gone"
    root = sample.profile(tmp_path).record_root
    (found,) = erasure.find(root, pins={table_id: 1})
    assert (found.reason, found.requested_by, found.matched) == (ORDER.reason, "Ada", "who")
    assert erasure.find(root, pins={table_id: 0}) == []
    assert erasure.find(root, pins={"another": 1}) == []


def test_a_unit_goes_from_features_scores_and_cells_of_its_study(tmp_path: Path) -> None:
    path = features(tmp_path)
    sums(tmp_path)
    root = sample.profile(tmp_path).record_root
    done = erase_ids(sample.profile(tmp_path), "rain_delays", "unit_id", [PERSON], ORDER)
    assert {each.table: (each.rows, each.keys) for each in done} == {
        "features/rain_delays": (1, ("f" * 64,)),
        "record/scores": (1, ("c" * 64,)),
        "record/cells": (1, ("c" * 64,)),
    }
    assert traces(path) == []
    scores = read_record(root, "scores").to_pylist()
    assert sorted((row["crossfit_key"][0], row["unit_id"]) for row in scores) == [
        ("c", "aaa"),
        ("d", "aaa"),
        ("d", PERSON),
    ]
    cells = [row for row in read_record(root, "cells").to_pylist() if row["crossfit_key"][0] == "c"]
    assert sum(row["b"][0] for row in cells) == 5.0, "the sums stay, under another name"
    assert sorted(row["cell"].partition(":")[0] for row in cells) == ["aaa", "erased"]
    (found,) = erasure.find(root, keys=["f" * 64])
    assert found.table == "features/rain_delays"
    assert erasure.find(root, keys=["e" * 64]) == []
    mine = ds.field("features_key") == "e" * 64
    assert lake.read(str(path), where=mine, version=1).num_rows == 2, "the other key stays"


def test_what_is_left_can_be_read_with_filters(tmp_path: Path) -> None:
    """Deleting leaves files with string views, which Arrow does not compare with strings."""
    path = flights(tmp_path)
    sums(tmp_path)
    erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    erase_ids(sample.profile(tmp_path), "rain_delays", "unit_id", [PERSON], ORDER)
    found = lake.read(str(path), ["x"], ds.field("who") == "mmm")
    assert found.to_pylist() == [{"x": 1.5}]
    root = sample.profile(tmp_path).record_root
    for table in ("scores", "cells"):
        mine = read_record(root, table, ds.field("crossfit_key") == "c" * 64)
        assert len(mine) == (1 if table == "scores" else 2)
        assert mine.schema.field("crossfit_key").type == pa.string()
    sums(tmp_path)
    assert len(read_record(root, "scores")) == 3, "keys stay known: nothing is appended again"


def test_the_record_of_an_erasure_never_names_the_person(tmp_path: Path) -> None:
    flights(tmp_path)
    erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}' AND x > 1", ORDER)
    (row,) = read_record(sample.profile(tmp_path).record_root, "erasures").to_pylist()
    assert PERSON not in repr(row)
    assert row["matched"] == "who, x"


def test_a_second_time_there_is_nothing_to_erase(tmp_path: Path) -> None:
    path = flights(tmp_path)
    erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    before = sorted(each.name for each in path.rglob("*"))
    (again,) = erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    assert again == Erased("lake/flights", 0, 0, (), ())
    assert sorted(each.name for each in path.rglob("*")) == before
    assert len(read_record(sample.profile(tmp_path).record_root, "erasures")) == 1


@pytest.mark.parametrize("point", ["after_record", "after_commit", "after_files"])
def test_a_killed_erasure_is_finished_by_the_next(tmp_path: Path, point: str) -> None:
    path = flights(tmp_path)
    code = (
        "from pathlib import Path\n"
        "from tests.jobs.upkeep.test_erasure import ORDER, PERSON, erase_rows, sample\n"
        f"place = sample.profile(Path({str(tmp_path)!r}))\n"
        "erase_rows(place, 'flights', f\"who = '{PERSON}'\", ORDER)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {VARIABLE: f"erasure.{point}"}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert traces(path)
    erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", ORDER)
    assert traces(tmp_path) == []
    table_id = str(DeltaTable(str(path)).metadata().id)
    assert erasure.find(sample.profile(tmp_path).record_root, pins={table_id: 1})


@pytest.mark.parametrize(
    ("table", "condition", "code"),
    [
        ("../outside", "who = 'a'", "no_table"),
        ("/etc", "who = 'a'", "no_table"),
        ("nothing", "who = 'a'", "no_table"),
        ("features/../../outside", "who = 'a'", "no_table"),
        ("flights", "reflect('java.lang.System', 'exit', 1) = 1", "bad_condition"),
        ("flights", "who IN (SELECT who FROM other)", "bad_condition"),
        ("flights", "1 = 1", "bad_condition"),
        ("flights", "who = x", "bad_condition"),
        ("flights", "upper(who) = 'A'", "bad_condition"),
        ("flights", "x = 'many'", "bad_condition"),
        ("flights", "whom = 'a'", "no_column"),
        ("flights", "who = 'a' AND", "bad_condition"),
        ("flights", "true", "bad_condition"),
    ],
)
def test_what_is_not_a_condition_on_a_table_of_ours_changes_nothing(
    tmp_path: Path, table: str, condition: str, code: str
) -> None:
    path = flights(tmp_path / "home")
    outside = tmp_path / "outside"
    write_deltalake(str(outside), pa.table({"who": ["a"]}))
    before = DeltaTable(str(path)).version()
    with pytest.raises(UsageError) as caught:
        erase_rows(sample.profile(tmp_path / "home"), table, condition, ORDER)
    assert (caught.value.code, bool(caught.value.remedy)) == (code, True)
    assert DeltaTable(str(path)).version() == before
    assert DeltaTable(str(outside)).version() == 0


def test_an_error_on_a_condition_does_not_repeat_it(tmp_path: Path) -> None:
    flights(tmp_path)
    with pytest.raises(CausewayError) as caught:
        erase_rows(sample.profile(tmp_path), "flights", f"upper(who) = '{PERSON}'", ORDER)
    assert PERSON not in str(caught.value)


@pytest.mark.parametrize("order", [Order(" ", "Ada"), Order("request", "")])
def test_an_erasure_needs_a_reason_and_a_name(tmp_path: Path, order: Order) -> None:
    flights(tmp_path)
    with pytest.raises(UsageError) as caught:
        erase_rows(sample.profile(tmp_path), "flights", f"who = '{PERSON}'", order)
    assert caught.value.code == "no_reason"


def test_a_study_that_never_ran_here_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        erase_ids(sample.profile(tmp_path), "rain_delays", "unit_id", [PERSON], ORDER)
    assert caught.value.code == "no_table"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("n = -2", [-2]),
        ("n < 0 OR n >= 5", [-2, 5, 7]),
        ("NOT (n < 0) AND name <> 'it''s'", [5, 7]),
        ("n IN (1, 7) OR name = 'it''s'", [1, 7]),
        ("day >= '2026-02-01'", [5, 7]),
        ("flag = true", [-2, 5]),
    ],
)
def test_arrow_and_delta_read_a_condition_alike(
    tmp_path: Path, text: str, wanted: list[int]
) -> None:
    days = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 1, 2, 3)]
    rows = pa.table({
        "n": [1, -2, 5, 7], "name": ["it's", "b", "c", "d"], "day": days,
        "flag": [False, True, True, False],
    })  # fmt: skip
    path = str(tmp_path / "t")
    write_deltalake(path, rows)
    schema = pa.schema(DeltaTable(path).schema().to_arrow())
    found = parse_filter(text, schema, "t")
    kept = lake.read(path, where=found.arrow)["n"].to_pylist()
    assert sorted(kept) == wanted
    DeltaTable(path).delete(found.sql)
    left = lake.read(path)["n"].to_pylist()
    assert sorted(left) == sorted({1, -2, 5, 7} - set(wanted))


def test_reproduce_names_the_erasure(tmp_path: Path) -> None:
    """By the run's features, by its sums and by the versions of its sources."""
    path = flights(tmp_path)
    features(tmp_path)
    sums(tmp_path)
    place = sample.profile(tmp_path)
    erase_rows(place, "flights", f"who = '{PERSON}'", ORDER)
    erase_ids(place, "rain_delays", "unit_id", [PERSON], ORDER)
    run = _run({"flights": 1}, {"flights": str(DeltaTable(str(path)).metadata().id)})
    found = erasures(run, _lineage("f" * 64, "c" * 64), place)
    assert [each.table for each in found] == [
        "lake/flights",
        "features/rain_delays",
        "record/scores",
        "record/cells",
    ]
    said = explain(found)
    assert "1 rows of lake/flights were erased on" in said
    assert "deletion request 17, asked by Ada" in said
    assert erasures(_run({"flights": 0}, run.table_ids), _lineage("e" * 64, "d" * 64), place) == ()
    kept = lake.read(
        f"{tmp_path}/features/rain_delays", ["y"], ds.field("features_key") == "f" * 64
    )
    assert kept.to_pylist() == [{"y": 2.5}]


def _run(sources: dict[str, int], ids: Mapping[str, str]) -> RecordedRun:
    return RecordedRun(
        _stage("estimate", "r" * 64), "rain_delays", DAY, DAY, "", sources, ids, "", "cpu", {}, {},
        "", "", DAY,
    )  # fmt: skip


def _stage(name: StageName, key: str) -> Stage:
    return Stage(name, "reused", key, "effects", 1, 1, 0.0)


def _lineage(features_key: str, crossfit_key: str) -> dict[str, Stage]:
    return {
        "features": _stage("features", features_key),
        "crossfit": _stage("crossfit", crossfit_key),
    }
