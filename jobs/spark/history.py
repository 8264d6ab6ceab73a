"""History: aggregates of the rows that happened, and were known, before each unit's time.

A row of event time e, known at k, counts for a unit of the same key at time t where
``t - lookback <= e < t`` and ``k < t``, that is where ``max(e, k) < t <= e + lookback``. So counts
and sums need no join: each row enters the account of its key at ``max(e, k)`` and leaves it at
``e + lookback``, and one running sum over entries, leavings and units in order of time answers
every unit. Doubles are summed as DECIMAL, so that the sum does not depend on the order of rows.
Extremes cannot leave an account: `history_extremes` finds them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom
from pyspark.sql.types import IntegralType, NumericType

from conf.history import Aggregate, parse_aggregate
from conf.study import History, Source
from conf.windows import Span, duration
from jobs.spark.history_extremes import (
    EVENT,
    KEY,
    KNOWN,
    MOMENT,
    key_text,
    value_name,
    with_extremes,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

TIME = "unit_time"
_SUMS = ("count", "sum", "avg")
_UNIT, _ROWS = "__history_unit", "__history_rows"
_DIGITS = 38  # of Spark's widest DECIMAL
_SMALL, _LARGE = 1e-6, 1e15


@dataclass(frozen=True, slots=True)
class Account:
    """Running sums of one column.

    Attributes
    ----------
    column
        Name of the column's values.
    scale
        Decimal places of the sum: as many as the largest value leaves room for.
    unit
        A power of two that very large or small values are divided by first; otherwise 1.
    """

    column: str
    scale: int = 0
    unit: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return self.scale == 0

    @property
    def count(self) -> str:
        """Of rows with a value."""
        return f"{self.column}_count"

    @property
    def total(self) -> str:
        """Of the finite values."""
        return f"{self.column}_total"

    @property
    def broken(self) -> str:
        """Of rows with NaN or an infinite value."""
        return f"{self.column}_broken"


Bounds = Mapping[str, tuple[float, int] | None]
"""Column, in lower case, to a bound of its absolute values and the number of rows, if known."""


def with_history(
    units: DataFrame,
    rows: DataFrame,
    history: History,
    source: Source,
    *,
    key: str,
    span: Span,
    bounds: Bounds,
) -> DataFrame:
    """Add the columns of one history to the units.

    Parameters
    ----------
    units
        Has the column ``unit_time``.
    rows
        The history's source at its pinned version.
    key
        The units' column that the history's `by` is compared with, as text.
    span
        The window: rows that cannot count for any unit of it are not read.
    bounds
        What is known of the columns; where nothing is, the rows are asked.

    Returns
    -------
    DataFrame
        The units, one row each. ``count`` is 0 where no row counts or the key is NULL, every
        other aggregate is NULL.
    """
    aggregates = {name: parse_aggregate(text) for name, text in history.columns.items()}
    lookback = duration(history.lookback)
    width = lookback // timedelta(microseconds=1)
    known = _known(rows, history, source, span, lookback)
    placed = units.withColumn(MOMENT, F.unix_micros(F.col(TIME))).withColumn(KEY, key_text(key))
    summed = _with_sums(placed, known, aggregates, width, bounds)
    return with_extremes(summed, known, aggregates, width).drop(KEY, MOMENT)


def _known(
    rows: DataFrame, history: History, source: Source, span: Span, lookback: timedelta
) -> DataFrame:
    """Rows that some unit may count: key, event and when known in microseconds, and values."""
    event = F.col(str(source.event_time)).cast("timestamp")
    known = F.expr(source.known_at).cast("timestamp") if source.known_at else event
    parsed = (parse_aggregate(text).column for text in history.columns.values())
    columns = sorted({column.casefold() for column in parsed if column})
    near = (event >= F.lit(span.start - lookback)) & (event < F.lit(span.end))
    chosen = rows.where(near).select(
        key_text(history.by).alias(KEY),
        F.unix_micros(event).alias(EVENT),
        F.unix_micros(known).alias(KNOWN),
        *(_number(rows, column).alias(value_name(column)) for column in columns),
    )
    return chosen.dropna(subset=[KEY, EVENT, KNOWN])


def _number(rows: DataFrame, column: str) -> Column:
    """A value as bigint where it is whole, as double where it is another number."""
    kind = next(each.dataType for each in rows.schema if each.name.casefold() == column)
    if isinstance(kind, IntegralType):
        return F.col(column).cast("bigint")
    return F.col(column).cast("double") if isinstance(kind, NumericType) else F.col(column)


def _with_sums(
    placed: DataFrame,
    known: DataFrame,
    aggregates: Mapping[str, Aggregate],
    width: int,
    bounds: Bounds,
) -> DataFrame:
    chosen = {name: each for name, each in aggregates.items() if each.function in _SUMS}
    if not chosen:
        return placed
    accounts = _accounts(known, chosen, bounds)
    moves = _moves(known, accounts, width)
    units = placed.withColumn(_UNIT, F.lit(True))
    before = Window.partitionBy(KEY).orderBy(MOMENT).rangeBetween(Window.unboundedPreceding, -1)
    running = [_ROWS, *(name for each in accounts.values() for name in _columns(each))]
    ledger = units.unionByName(moves, allowMissingColumns=True)
    sums = ledger.withColumns({name: F.sum(name).over(before) for name in running}).where(_UNIT)
    found = {name: _aggregate(each, accounts) for name, each in chosen.items()}
    return sums.withColumns(found).drop(_UNIT, *running)


def _columns(account: Account) -> Iterator[str]:
    yield from (account.count, account.total, account.broken)


def _accounts(
    known: DataFrame, aggregates: Mapping[str, Aggregate], bounds: Bounds
) -> dict[str, Account]:
    """An account for each column, by its name."""
    parsed = {each.column.casefold() for each in aggregates.values() if each.column}
    kinds = dict(known.dtypes)
    doubles = {column for column in parsed if kinds[value_name(column)] == "double"}
    found = {column: bounds.get(column) for column in doubles}
    found |= _looked_up(known, sorted(column for column in doubles if found[column] is None))
    return {
        value_name(column): _account(value_name(column), found.get(column))
        for column in sorted(parsed)
    }


def _looked_up(known: DataFrame, columns: list[str]) -> dict[str, tuple[float, int] | None]:
    if not columns:
        return {}
    names = [value_name(column) for column in columns]
    largest = [F.max(F.when(_finite(name), F.abs(F.col(name)))) for name in names]
    rows, *found = known.agg(F.count(F.lit(1)), *largest).collect()[0]
    return {column: (most or 0.0, rows) for column, most in zip(columns, found, strict=True)}


def _account(name: str, bound: tuple[float, int] | None) -> Account:
    """The account of a column, of whole numbers where there is no bound.

    Of 38 digits the leading ones hold the sum of all rows, so what is cut at the last place lies
    far below the precision of a double.
    """
    if bound is None:
        return Account(name)
    most, rows = bound[0] or 1.0, bound[1]
    usual = _SMALL <= most <= _LARGE
    unit = 1.0 if usual else 2.0 ** min(max(math.floor(math.log2(most)), -1000), 1000)
    leading = math.ceil(math.log10(most / unit) + math.log10(max(rows, 1))) + 2
    return Account(name, _DIGITS - max(leading, 1), unit)


def _finite(name: str) -> Column:
    value = F.col(name)
    return ~F.isnan(value) & (F.abs(value) < float("inf"))


def _moves(known: DataFrame, accounts: Mapping[str, Account], width: int) -> DataFrame:
    """Entries and leavings of rows: the moment, and what is added then (or taken back).

    A row that becomes known only after it would have left never enters.
    """
    enter, leave = F.greatest(EVENT, KNOWN), F.col(EVENT) + F.lit(width)
    kinds = dict(known.dtypes)
    counted = [
        column.alias(name)
        for each in accounts.values()
        for name, column in _counted(each, kinds[each.column])
    ]
    plus = [F.lit(1).alias(_ROWS), *counted]
    names = [_ROWS, *(name for each in accounts.values() for name in _columns(each))]
    minus = [(-column).alias(name) for name, column in zip(names, plus, strict=True)]
    entered = F.struct(enter.alias(MOMENT), *plus)
    left = F.struct(leave.alias(MOMENT), *minus)
    # One pass over the source: a union of two would read it twice.
    return known.where(enter < leave).select(KEY, F.inline(F.array(entered, left)))


def _counted(account: Account, kind: str) -> Iterator[tuple[str, Column]]:
    """What one row enters into the account, by name."""
    value = F.col(account.column)
    finite = _finite(account.column) if kind == "double" else value.isNotNull()
    yield account.count, F.when(value.isNotNull(), 1)
    if kind in ("double", "bigint"):
        scaled = value / F.lit(account.unit) if account.unit != 1 else value
        digits = scaled.cast(f"decimal({_DIGITS},{account.scale})")
        yield account.total, F.when(finite, digits)
    else:  # only counted
        yield account.total, F.lit(0).cast("bigint")
    yield account.broken, F.when(value.isNotNull() & ~finite, 1)


def _aggregate(aggregate: Aggregate, accounts: Mapping[str, Account]) -> Column:
    if aggregate.column is None:
        return F.coalesce(_ROWS, F.lit(0)).cast("bigint")
    account = accounts[value_name(aggregate.column)]
    count = F.coalesce(account.count, F.lit(0)).cast("bigint")
    if aggregate.function == "count":
        return count
    if aggregate.function == "sum" and account.whole:
        return F.when(count > 0, F.col(account.total).cast("bigint"))
    total = F.col(account.total).cast("double") * F.lit(account.unit)
    value = total / count if aggregate.function == "avg" else total
    return F.when(count > 0, F.when(F.col(account.broken) > 0, float("nan")).otherwise(value))
