"""History: aggregates of the rows that happened, and were known, before each unit's time.

A row counts for a unit of the same key where ``t - lookback <= event_time < t`` and
``known_at < t``. There is no cross join: rows are collected by key and by buckets of time one
lookback long, a unit's rows lie in its own bucket and the one before, and each unit then looks
through one sorted array. The order of that array is that of its values, so a sum of doubles is
the same sum however Spark spreads the rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom
from pyspark.sql.types import DataType, IntegralType, NumericType

from conf.history import Aggregate, parse_aggregate
from conf.study import History, Source
from conf.windows import Span, duration

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TIME = "unit_time"
_KEY, _BUCKET, _EVENT, _KNOWN, _MOMENT, _ROWS, _VALUE = (
    f"__history_{name}" for name in ("key", "bucket", "event", "known", "moment", "rows", "value")
)


def with_history(
    units: DataFrame, rows: DataFrame, history: History, source: Source, *, key: str, span: Span
) -> DataFrame:
    """Add the columns of one history to the units.

    Parameters
    ----------
    units
        Has the column ``unit_time``.
    key
        The units' column that the history's `by` is compared with.
    rows
        The history's source at its pinned version.
    span
        The window: rows that cannot count for any unit of it are not read.

    Returns
    -------
    DataFrame
        The units, one row each. ``count`` is 0 where no row counts or the key is NULL, every
        other aggregate is NULL.
    """
    aggregates = {name: parse_aggregate(text) for name, text in history.columns.items()}
    lookback = duration(history.lookback)
    width = lookback // timedelta(microseconds=1)
    known = _known(rows, history, source, span.start - lookback, span.end)
    collected = _collected(known, width)
    placed = units.withColumn(_MOMENT, F.unix_micros(F.col(TIME)))
    placed = placed.withColumn(_KEY, _key(key)).withColumn(_BUCKET, _bucket(_MOMENT, width))
    joined = placed.join(collected, [_KEY, _BUCKET], "left").withColumn(_ROWS, _counted(width))
    for name, aggregate in aggregates.items():
        joined = joined.withColumn(name, _aggregate(aggregate, known))
    return joined.drop(_KEY, _BUCKET, _MOMENT, _ROWS)


def _known(
    rows: DataFrame, history: History, source: Source, earliest: datetime, end: datetime
) -> DataFrame:
    """Rows that some unit may count: key, event, when known, and every column by its value name."""
    event = F.col(str(source.event_time)).cast("timestamp")
    known = F.expr(source.known_at).cast("timestamp") if source.known_at else event
    parsed = (parse_aggregate(text).column for text in history.columns.values())
    columns = sorted({column.casefold() for column in parsed if column})
    types = {field.name.casefold(): field.dataType for field in rows.schema}
    chosen = rows.where((event >= F.lit(earliest)) & (event < F.lit(end))).select(
        _key(history.by).alias(_KEY),
        F.unix_micros(event).alias(_EVENT),
        F.unix_micros(known).alias(_KNOWN),
        *(_number(column, types[column]).alias(_value(column)) for column in columns),
    )
    return chosen.dropna(subset=[_KEY, _EVENT, _KNOWN])


def _key(column: str) -> Column:
    """Keys compare as texts: one table may hold them as int and the other as bigint."""
    return F.col(column).cast("string")


def _value(column: str) -> str:
    return f"{_VALUE}_{column.casefold()}"


def _number(column: str, kind: DataType) -> Column:
    """A value as bigint where it is whole, as double where it is another number."""
    if isinstance(kind, IntegralType):
        return F.col(column).cast("bigint")
    return F.col(column).cast("double") if isinstance(kind, NumericType) else F.col(column)


def _bucket(micros: str, width: int) -> Column:
    """Number of the bucket of that width: exact in integers, before 1970 too."""
    return F.expr(f"({micros} - pmod({micros}, {width}L)) div {width}L")


def _collected(known: DataFrame, width: int) -> DataFrame:
    """Per key and bucket, the sorted rows that units of the bucket may count."""
    own = _bucket(_EVENT, width)
    values = [name for name in known.columns if name.startswith(_VALUE)]
    spread = known.withColumn(_BUCKET, F.explode(F.array(own, own + F.lit(1))))
    row = F.struct(_EVENT, _KNOWN, *values)
    return spread.groupBy(_KEY, _BUCKET).agg(F.sort_array(F.collect_list(row)).alias(_ROWS))


def _counted(width: int) -> Column:
    """The rows of the bucket that count for the unit: the rule of time, in one place."""
    moment = F.col(_MOMENT)

    def counts(row: Column) -> Column:
        happened = (row[_EVENT] >= moment - F.lit(width)) & (row[_EVENT] < moment)
        return happened & (row[_KNOWN] < moment)

    return F.filter(_ROWS, counts)


def _aggregate(aggregate: Aggregate, known: DataFrame) -> Column:
    if aggregate.column is None:
        return F.coalesce(F.size(_ROWS), F.lit(0)).cast("bigint")
    name = _value(aggregate.column)
    present = F.filter(_ROWS, lambda row: row[name].isNotNull())
    values = F.transform(present, lambda row: row[name])
    count = F.size(values)
    if aggregate.function == "count":
        return F.coalesce(count, F.lit(0)).cast("bigint")
    if aggregate.function in ("min", "max"):
        return F.array_min(values) if aggregate.function == "min" else F.array_max(values)
    zero = F.lit(0).cast(known.schema[name].dataType)
    total = F.aggregate(values, zero, lambda left, right: left + right)
    result = total if aggregate.function == "sum" else total.cast("double") / count
    return F.when(count > 0, result)
