"""Folds: whole clusters by hash, the same for any partitioning and order of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import xxhash
from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

from conf.study import Folds

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

HASHED_FROM = 20_000
"""From this many clusters on a cluster's fold depends on nothing but its own id."""

_SEED = 42  # of Spark's xxhash64
_OWNER = "__fold_owner"


def with_folds(units: DataFrame, owner: str, clusters: int, folds: Folds) -> DataFrame:
    """Add ``fold array<int>``, an entry a repetition.

    From 20,000 clusters on the fold is ``pmod(xxhash64(salt|rep|cluster), k)``: a late day or a
    new cluster moves nobody else. Below, clusters are ranked by (hash, id) and dealt out in turn,
    so that no fold is empty.

    Parameters
    ----------
    units
        The units.
    owner
        The column of cluster ids, or of unit ids where no cluster is declared; no NULL.
    clusters
        How many distinct values `owner` has.
    """
    if clusters >= HASHED_FROM:
        return units.withColumn("fold", F.array(*_hashed(F.col(owner), folds)))
    distinct = units.select(owner).distinct().toArrow()[owner].to_pylist()
    table = pa.table(
        {
            _OWNER: pa.array(distinct, pa.string()),
            "fold": pa.array(dealt(distinct, folds), pa.list_(pa.int32())),
        }
    )
    dealt_out = F.broadcast(units.sparkSession.createDataFrame(table))
    return units.join(dealt_out, units[owner] == dealt_out[_OWNER]).drop(_OWNER)


def _hashed(owner: Column, folds: Folds) -> list[Column]:
    prefixes = (f"{folds.salt}|{rep}|" for rep in range(folds.repetitions))
    hashes = (F.xxhash64(F.concat(F.lit(prefix), owner)) for prefix in prefixes)
    return [F.pmod(each, F.lit(folds.k)).cast("int") for each in hashes]


def dealt(clusters: list[str], folds: Folds) -> list[list[int]]:
    """Folds by rank: for each cluster, its fold in each repetition."""
    found: list[list[int]] = [[0] * folds.repetitions for _ in clusters]
    for rep in range(folds.repetitions):
        hashes = [cluster_hash(folds.salt, rep, cluster) for cluster in clusters]
        order = sorted(range(len(clusters)), key=lambda i: (hashes[i], clusters[i]))
        for rank, index in enumerate(order):
            found[index][rep] = rank % folds.k
    return found


def cluster_hash(salt: str, rep: int, cluster: str) -> int:
    """Spark's ``xxhash64`` of ``salt|rep|cluster``: signed, seed 42, over UTF-8."""
    unsigned = xxhash.xxh64_intdigest(f"{salt}|{rep}|{cluster}".encode(), _SEED)
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned
