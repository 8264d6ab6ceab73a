"""Smallest and largest values of history: from sorted arrays by key and bucket of time.

An extreme cannot be taken back from a running account as a sum can. Rows are collected by key and
by buckets one lookback long; a unit's rows lie in its own bucket and the one before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

from conf.history import Aggregate

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

KEY, EVENT, KNOWN, MOMENT = (f"__history_{name}" for name in ("key", "event", "known", "moment"))
_BUCKET, _ROWS = "__history_bucket", "__history_rows"


def key_text(column: str) -> Column:
    """Keys compare as texts: one table may hold them as int and the other as bigint."""
    return F.col(column).cast("string")


def value_name(column: str) -> str:
    """Name of a history column's values among the known rows."""
    return f"__history_value_{column.casefold()}"


def with_extremes(
    units: DataFrame, known: DataFrame, aggregates: Mapping[str, Aggregate], width: int
) -> DataFrame:
    """Add the ``min`` and ``max`` columns.

    Parameters
    ----------
    units
        With their key, and their moment in microseconds.
    known
        Rows of the source with key, event, when known, and values.
    width
        The lookback in microseconds.
    """
    chosen = {name: each for name, each in aggregates.items() if each.function in ("min", "max")}
    if not chosen:
        return units
    values = sorted({value_name(str(each.column)) for each in chosen.values()})
    collected = _collected(known, values, width)
    placed = units.withColumn(_BUCKET, _bucket(MOMENT, width))
    joined = placed.join(collected, [KEY, _BUCKET], "left").withColumn(_ROWS, _counted(width))
    found = {name: _extreme(each) for name, each in chosen.items()}
    return joined.withColumns(found).drop(_BUCKET, _ROWS)


def _bucket(micros: str, width: int) -> Column:
    """Number of the bucket of that width: exact in integers, before 1970 too."""
    return F.expr(f"({micros} - pmod({micros}, {width}L)) div {width}L")


def _collected(known: DataFrame, values: list[str], width: int) -> DataFrame:
    """Per key and bucket, the rows that units of the bucket may count."""
    own = _bucket(EVENT, width)
    spread = known.withColumn(_BUCKET, F.explode(F.array(own, own + F.lit(1))))
    row = F.struct(EVENT, KNOWN, *values)
    return spread.groupBy(KEY, _BUCKET).agg(F.collect_list(row).alias(_ROWS))


def _counted(width: int) -> Column:
    """The rows of the bucket that count for the unit."""
    moment = F.col(MOMENT)

    def counts(row: Column) -> Column:
        happened = (row[EVENT] >= moment - F.lit(width)) & (row[EVENT] < moment)
        return happened & (row[KNOWN] < moment)

    return F.filter(_ROWS, counts)


def _extreme(aggregate: Aggregate) -> Column:
    """NULL where no row counts or none has a value: array extremes skip NULL."""
    values = F.transform(_ROWS, lambda row: row[value_name(str(aggregate.column))])
    return F.array_min(values) if aggregate.function == "min" else F.array_max(values)
