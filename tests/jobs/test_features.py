from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from conf.profile import Profile
from estimators.errors import (
    ContractError,
    NotMatureError,
    SourceError,
)
from jobs import features, ledger
from jobs.contracts import FEATURES_RESERVED
from jobs.lake import read
from jobs.ledger import Stage
from tests.jobs.visits_lake import (
    FIRST,
    lake,
    nothing_written,
    plain,
    resolved,
    visit,
    visits,
    write,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.engines, pytest.mark.usefixtures("spark")]


def rows_of(profile: Profile, stage: Stage) -> list[dict[str, Any]]:
    import pyarrow.dataset as ds

    table = read(
        f"{profile.home}/{stage.table}",
        where=ds.field("features_key") == stage.key,
        version=stage.version,
    )
    return sorted(table.to_pylist(), key=lambda row: row["unit_id"])


def test_rows_of_a_window(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    found = resolved(profile)
    told: list[int] = []
    stage = features.build(found, profile, lambda stage, done, total, note="": told.append(done))
    rows = rows_of(profile, stage)
    source = [row for row in visits() if found.span.start <= row["at"] < found.span.end]
    assert (stage.status, stage.rows, stage.table) == ("computed", len(source), "features/visits")
    assert list(rows[0]) == [*FEATURES_RESERVED, "dose", "pain", *found.loaded.study.covariates]
    by_id = {row["unit_id"]: row for row in rows}
    assert set(by_id) == {str(row["visit"]) for row in source}
    for row in source:
        mine = by_id[str(row["visit"])]
        assert mine["unit_time"] == row["at"]
        assert {name: mine[name] for name in ("pain", "cost", "clinic", "dose")} == {
            name: row[name] for name in ("pain", "cost", "clinic", "dose")
        }
        assert (mine["cluster_id"], mine["weight"]) == (row["patient"], 1.0)
    folds = {(row["cluster_id"], *row["fold"]) for row in rows}
    assert Counter(fold for _, fold in folds) == {0: 20, 1: 20}
    assert sum(row["visits_7d"] for row in rows) > 0
    assert told == sorted(told)
    assert told[-1] == 4
    assert stage.detail == {
        "asserted": ["clinic", "cost"],
        "history": ["visits_7d", "pain_7d", "cost_7d", "worst_7d"],
        "window": "2024-03",
        "clusters": 40,
    }


def test_the_bounds_of_a_window_are_midnights_in_its_zone(tmp_path: Path) -> None:
    """March 2024 in New York begins at 05:00 UTC and ends at 04:00: clocks change in between."""
    tick = timedelta(microseconds=1)
    start, end = datetime(2024, 3, 1, 5, tzinfo=UTC), datetime(2024, 4, 1, 4, tzinfo=UTC)
    edges = [visit(9000 + i, at) for i, at in enumerate([start - tick, start, end - tick, end])]
    profile = lake(tmp_path, [*visits(100, FIRST), *edges])
    stage = features.build(resolved(profile, plain()), profile)
    ids = {row["unit_id"] for row in rows_of(profile, stage)}
    assert {"9001", "9002"} <= ids
    assert not {"9000", "9003"} & ids


def test_files_are_sorted_by_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "ROWS_A_FILE", 150)
    profile = lake(tmp_path)
    features.build(resolved(profile, plain()), profile)
    files = sorted(Path(profile.features_root).rglob("*.parquet"))
    blocks = [pq.read_table(file)["unit_id"].to_pylist() for file in files]
    assert len(blocks) > 1
    assert all(block == sorted(block) for block in blocks)
    ranges = sorted((block[0], block[-1]) for block in blocks)
    assert all(left[1] < right[0] for left, right in pairwise(ranges))


def test_a_recorded_key_is_reused_without_spark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = lake(tmp_path)
    found = resolved(profile, plain())
    first = features.build(found, profile)

    def no_spark(*_: object) -> None:
        pytest.fail("Spark was asked for")

    monkeypatch.setattr(features, "spark_session", no_spark)
    again = features.build(found, profile)
    assert (again.status, again.key, again.digest) == ("reused", first.key, first.digest)
    assert (again.version, again.rows, again.detail) == (first.version, first.rows, first.detail)


@pytest.mark.slow
def test_a_crash_before_the_ledger_is_repaired_without_double_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = lake(tmp_path)
    found = resolved(profile, plain())

    def crash(name: str) -> None:
        raise KeyboardInterrupt(name)

    with monkeypatch.context() as patch:
        patch.setattr(features, "reach", crash)
        with pytest.raises(KeyboardInterrupt):
            features.build(found, profile)
    assert len(DeltaTable(profile.features_root + "/visits").partitions()) == 1
    assert not Path(profile.record_root).exists()
    stage = features.build(found, profile)
    assert stage.version == 0
    assert DeltaTable(profile.features_root + "/visits").version() == 0
    assert len(rows_of(profile, stage)) == stage.rows
    other = lake(tmp_path / "other")
    assert features.build(resolved(other, plain()), other).digest == stage.digest


def test_a_commit_that_is_tried_twice_adds_nothing(tmp_path: Path) -> None:
    """The transaction in the log: a writer that lost its answer writes again."""
    profile = lake(tmp_path)
    found = resolved(profile, plain())
    stage = features.build(found, profile)
    work = features._Work(found, profile, stage.key, ledger.silent)
    from pyspark.sql import SparkSession

    session = SparkSession.builder.getOrCreate()
    committed = session.read.format("delta").load(work.path)
    features._commit(committed.limit(5), work)
    assert rows_of(profile, stage) == rows_of(
        profile, replace(stage, version=DeltaTable(work.path).version())
    )


@pytest.mark.slow
def test_the_digest_does_not_depend_on_partitions_or_the_order_of_rows(
    spark: SparkSession, tmp_path: Path, shuffle_partitions: Callable[[int], None]
) -> None:
    from jobs.engines import own_session

    digests, keys = set(), set()
    for partitions in (3, 8):
        shuffle_partitions(partitions)
        assert own_session(spark).conf.get("spark.sql.shuffle.partitions") == str(partitions)
        rows = list(visits())
        random.Random(partitions).shuffle(rows)  # noqa: S311 - a fixed order
        profile = Profile(name="tests", home=tmp_path / str(partitions))
        for part in range(partitions):  # as many files and commits
            write(profile, "visits", rows[part::partitions])
        stage = features.build(resolved(profile), profile)
        digests.add(stage.digest)
        keys.add(stage.key)
    assert digests == {GOLDEN}  # of the same rows in one file, in order
    assert len(keys) == 2  # other tables, so other pins


@pytest.fixture
def shuffle_partitions(spark: SparkSession) -> Iterator[Callable[[int], None]]:
    """Sets the number for sessions to come, which take it from the context."""
    settings = spark.sparkContext._conf
    name = "spark.sql.shuffle.partitions"
    before = settings.get(name)
    assert before is not None
    yield lambda count: settings.set(name, str(count)) and None
    settings.set(name, before)


def test_the_digest_sees_values_nulls_and_repeated_rows(spark: SparkSession) -> None:
    from jobs.spark.row_digest import digest_rows

    def digest(rows: Sequence[tuple[Any, ...]], second: str = "b") -> str:
        schema = f"a string, {second} string, x double"
        return digest_rows(spark.createDataFrame(list(rows), schema)).digest

    base = [("u", None, 0.1), (None, "u", 0.2)]
    assert digest(base) == digest(base[::-1])
    others = [
        digest([(None, "u", 0.1), ("u", None, 0.2)]),
        digest([*base, base[0], base[0]]),
        digest([("u", None, 0.1), (None, "u", None)]),
        digest([("u", None, 0.1), (None, "u", 0.2 + 2**-55)]),
        digest(base, second="c"),
        digest(base[:1]),
    ]
    assert len({digest(base), *others}) == 7
    assert digest([("u", "v", 0.0)]) == digest([("u", "v", -0.0)])


def test_golden_digest(tmp_path: Path) -> None:
    """Fails where the rows change: raise NUMERICS["features"] in conf/keys.py then."""
    profile = lake(tmp_path)
    stage = features.build(resolved(profile), profile)
    assert stage.digest == GOLDEN


GOLDEN = "sha256:cdf6cf9dfc40908fc8ce4d6c6c5aec6f07b9cf514745bcbec065a22199ac7397"


def test_a_pinned_version_is_read_after_later_commits(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    pinned = resolved(profile, plain())
    write(profile, "visits", [visit(5000, FIRST)])
    stage = features.build(pinned, profile)
    assert "5000" not in {row["unit_id"] for row in rows_of(profile, stage)}
    newest = features.build(resolved(profile, plain()), profile)
    assert newest.rows == stage.rows + 1
    assert {row["unit_id"] for row in rows_of(profile, stage)} == {
        row["unit_id"] for row in rows_of(profile, newest)
    } - {"5000"}


def test_a_version_whose_files_are_gone(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    pinned = resolved(profile, plain())
    write(profile, "visits", visits(50), mode="overwrite")
    table = DeltaTable(f"{profile.lake_root}/visits")
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(SourceError) as caught:
        features.build(pinned, profile)
    assert (caught.value.code, caught.value.exit_code) == ("version_gone", 5)
    assert nothing_written(profile)


def test_a_table_that_was_made_anew_is_not_taken_for_the_old(tmp_path: Path) -> None:
    import shutil

    profile = lake(tmp_path)
    pinned = resolved(profile, plain())
    shutil.rmtree(f"{profile.lake_root}/visits")
    write(profile, "visits", visits(50))
    with pytest.raises(SourceError, match="made anew"):
        features.build(pinned, profile)


@pytest.mark.slow
def test_windows_share_a_table_and_a_new_covariate_joins_it(tmp_path: Path) -> None:
    profile = lake(tmp_path, [*visits(), *visits(400, datetime(2024, 4, 2, tzinfo=UTC))][:700])
    renamed = [row | {"visit": index} for index, row in enumerate(visits(400))]
    write(profile, "visits", renamed, mode="overwrite")
    first = features.build(resolved(profile, plain()), profile)
    wider = plain(("[clinic, cost]", "[clinic, cost, visit]"))
    second = features.build(resolved(profile, wider), profile)
    assert (first.version, second.version) == (0, 1)
    assert "visit" in rows_of(profile, second)[0]
    assert len(rows_of(profile, first)) == first.rows
    narrow = features.build(resolved(profile, plain(("k: 2", "k: 3"))), profile)
    assert narrow.rows == first.rows
    configuration = DeltaTable(profile.features_root + "/visits").metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 3650 days"
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 3650 days"


@pytest.mark.slow
def test_a_column_that_changed_its_type(tmp_path: Path) -> None:
    profile = lake(tmp_path)
    features.build(resolved(profile, plain()), profile)
    texts = plain(("dose, cost, pain\n", "dose, CAST(cost AS STRING) AS cost, pain\n"))
    with pytest.raises(ContractError, match="another type") as caught:
        features.build(resolved(profile, texts), profile)
    assert caught.value.code == "schema_conflict"


def test_a_study_without_time_clusters_or_history(tmp_path: Path) -> None:
    whole = plain(
        ("window: {every: 1 month, timezone: America/New_York}\n", ""),
        (" WHERE at >= :window_start AND at < :window_end", ""),
        ("  time: at\n  cluster: patient\n", "  weight: cost\n"),
    )
    profile = lake(tmp_path)
    stage = features.build(resolved(profile, whole, None), profile)
    rows = rows_of(profile, stage)
    assert stage.rows == 400
    assert {(row["cluster_id"], row["unit_time"]) for row in rows} == {(None, None)}
    assert {row["weight"] for row in rows} == {row["cost"] for row in visits()}
    assert Counter(row["fold"][0] for row in rows) == {0: 200, 1: 200}


@pytest.mark.slow
def test_a_watermark_that_needs_spark(tmp_path: Path) -> None:
    mark = 'event_time: at, watermark: "max(known) - INTERVAL 1 DAY"'
    profile = lake(tmp_path)
    found = resolved(profile, plain(("event_time: at", mark)))
    with pytest.raises(NotMatureError, match="up to 2024-03-28 00:00"):
        features.build(found, profile)
    assert nothing_written(profile)
    write(profile, "visits", [visit(5000, datetime(2024, 4, 5, tzinfo=UTC))])
    assert features.build(resolved(profile, plain(("event_time: at", mark))), profile).rows == 400
