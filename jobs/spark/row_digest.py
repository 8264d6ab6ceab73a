"""A digest of rows, computed by Spark: no matter how they are ordered or partitioned."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_SEEDS = ("a", "b")


@dataclass(frozen=True, slots=True)
class RowDigest:
    """Digest and number of rows."""

    digest: str
    rows: int


def digest_rows(frame: DataFrame) -> RowDigest:
    """Digest of names, types and rows.

    Two independent 64-bit hashes of each row are summed as integers, so that order and
    partitions do not count and repeated rows do. A hash skips NULL, so each value is preceded by
    whether it is NULL: ``(NULL, x)`` and ``(x, NULL)`` differ.
    """
    fields = [(field.name, field.dataType.simpleString()) for field in frame.schema]
    sums = [F.sum(_hash(frame, seed).cast("decimal(38,0)")) for seed in _SEEDS]
    count, *totals = frame.agg(F.count(F.lit(1)), *sums).collect()[0]
    content = {"fields": fields, "rows": count, "sums": [str(total or 0) for total in totals]}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return RowDigest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", count)


def _hash(frame: DataFrame, seed: str) -> Column:
    columns = [F.col(f"`{name}`") for name in frame.columns]
    return F.xxhash64(F.lit(seed), *(part for each in columns for part in (each.isNull(), each)))
