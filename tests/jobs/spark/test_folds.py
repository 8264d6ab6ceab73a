from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from conf.study import Folds
from jobs.spark.folds import cluster_hash, dealt

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CLUSTERS = [f"2013-{number:04d}" for number in range(101)] + ["Zürich", "東京", "", "a|b"]


def test_ranks_leave_no_fold_empty_and_depend_on_salt_and_repetition() -> None:
    found = dealt(CLUSTERS, Folds(k=5, repetitions=3, salt="s"))
    for rep in range(3):
        sizes = Counter(folds[rep] for folds in found)
        assert set(sizes) == set(range(5))
        assert max(sizes.values()) - min(sizes.values()) <= 1
    assert len({tuple(folds[rep] for folds in found) for rep in range(3)}) == 3
    assert found != dealt(CLUSTERS, Folds(k=5, repetitions=3, salt="t"))


def test_ranks_do_not_depend_on_the_order_of_clusters() -> None:
    folds = Folds(k=5, repetitions=2)
    forth = dict(zip(CLUSTERS, dealt(CLUSTERS, folds), strict=True))
    back = dict(zip(CLUSTERS[::-1], dealt(CLUSTERS[::-1], folds), strict=True))
    assert forth == back


def test_two_k_clusters_fill_every_fold_twice() -> None:
    for k in (2, 5, 11):
        found = dealt(CLUSTERS[: 2 * k], Folds(k=k))
        assert set(Counter(folds[0] for folds in found).values()) == {2}


@pytest.mark.engines
def test_the_hash_is_sparks(spark: SparkSession) -> None:
    from pyspark.sql import functions as F  # noqa: N812

    frame = spark.createDataFrame([(name,) for name in CLUSTERS], "c string")
    hashed = frame.select("c", F.xxhash64(F.concat(F.lit("s|1|"), "c")).alias("h")).collect()
    assert {row["c"]: row["h"] for row in hashed} == {
        name: cluster_hash("s", 1, name) for name in CLUSTERS
    }
    assert min(row["h"] for row in hashed) < 0


@pytest.mark.engines
@pytest.mark.parametrize("partitions", [3, 8])
def test_many_clusters_are_hashed_each_for_itself(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, partitions: int
) -> None:
    from jobs.spark import folds as module

    monkeypatch.setattr(module, "HASHED_FROM", 100)
    given = Folds(k=5, repetitions=2, salt="s")
    frame = spark.createDataFrame([(name,) for name in CLUSTERS * 3], "cluster_id string")
    found = module.with_folds(
        frame.repartition(partitions), "cluster_id", len(CLUSTERS), given
    ).collect()
    assert len(found) == len(frame.collect())
    assert {(row["cluster_id"], *row["fold"]) for row in found} == {
        (name, *(cluster_hash("s", rep, name) % 5 for rep in range(2))) for name in CLUSTERS
    }


@pytest.mark.engines
def test_few_clusters_are_dealt_and_stay_whole(spark: SparkSession) -> None:
    from jobs.spark.folds import with_folds

    given = Folds(k=5, repetitions=2)
    frame = spark.createDataFrame([(name,) for name in CLUSTERS * 3], "cluster_id string")
    found = with_folds(frame, "cluster_id", len(CLUSTERS), given).collect()
    assert Counter((row["cluster_id"], *row["fold"]) for row in found) == Counter(
        {(name, *folds): 3 for name, folds in zip(CLUSTERS, dealt(CLUSTERS, given), strict=True)}
    )
