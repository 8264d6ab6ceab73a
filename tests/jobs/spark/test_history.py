from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from conf.study import History, Source
from conf.windows import ALL, Span

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.spark.history import Bounds

pytestmark = pytest.mark.engines

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)  # clocks change in New York on this day
ROWS = "key string, event timestamp, known timestamp, x double, n int, word string"
UNITS = "unit string, who string, unit_time timestamp"
COLUMNS = {
    "rows": "count(*)",
    "with_x": "count(x)",
    "sum_x": "sum(x)",
    "avg_x": "avg(x)",
    "min_x": "min(x)",
    "max_x": "max(x)",
    "sum_n": "sum(n)",
    "avg_n": "avg(n)",
    "words": "count(word)",
}
LOOKBACK = timedelta(days=7)
MARCH = Span(datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC), "2024-03")

Rows = Sequence[tuple[Any, ...]]


def looked_back(
    spark: SparkSession,
    units: Rows,
    rows: Rows,
    *,
    known_at: str | None = "known",
    columns: Mapping[str, str] = COLUMNS,
    span: Span = ALL,
    partitions: int = 2,
    bounds: Bounds = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    from jobs.spark.history import with_history

    history = History.model_validate(
        {"from": "rows", "by": "key", "lookback": "7 days", "columns": dict(columns)}
    )
    source = Source(table="rows", event_time="event", known_at=known_at)
    found = with_history(
        spark.createDataFrame(list(units), UNITS).repartition(partitions),
        spark.createDataFrame(list(rows), ROWS).repartition(partitions),
        history,
        source,
        key="who",
        span=span,
        bounds=bounds,
    )
    return {row["unit"]: row for row in found.toArrow().to_pylist()}


def row(event: datetime, known: datetime | None = None, x: float | None = 1.5, **changes: Any):
    values = {"key": "a", "event": event, "known": known or event, "x": x, "n": 2, "word": "w"}
    return tuple((values | changes).values())


def expected(unit: tuple[Any, ...], rows: Rows) -> dict[str, Any]:
    """The rule of time, read off DESIGN: one unit, all rows, in plain Python."""
    _, who, moment = unit
    mine = [
        each
        for each in rows
        if each[0] is not None
        and each[0] == who
        and each[1] is not None
        and each[2] is not None
        and moment - LOOKBACK <= each[1] < moment
        and each[2] < moment
    ]
    xs = [each[3] for each in mine if each[3] is not None]
    ns = [each[4] for each in mine if each[4] is not None]
    return {
        "rows": len(mine),
        "with_x": len(xs),
        "sum_x": math.fsum(xs) if xs else None,
        "avg_x": math.fsum(xs) / len(xs) if xs else None,
        "min_x": min(xs, default=None),
        "max_x": max(xs, default=None),
        "sum_n": sum(ns) if ns else None,
        "avg_n": sum(ns) / len(ns) if ns else None,
        "words": sum(each[5] is not None for each in mine),
    }


def drawn(count: int = 600) -> tuple[Rows, Rows]:
    """Random rows and units on a coarse grid of times, so that equal times are frequent."""
    chance = random.Random(7)  # noqa: S311 - a fixed sample

    def moment(days: int) -> datetime:
        return NOON + timedelta(hours=6 * chance.randrange(4 * days))

    def maybe(value: Any) -> Any:
        return None if chance.random() < 0.1 else value

    rows = []
    for _ in range(count):
        event = moment(40)
        known = event + timedelta(hours=6 * chance.randrange(-2, 40))
        rows.append(
            (
                maybe(chance.choice("abc")), maybe(event), maybe(known),
                maybe(chance.uniform(-1e3, 1e3)), maybe(chance.randrange(-9, 9)), maybe("w"),
            )
        )  # fmt: skip
    units = [(f"u{i}", maybe(chance.choice("abcd")), moment(45)) for i in range(200)]
    return units, rows


def test_agrees_with_the_rule_on_random_rows(spark: SparkSession) -> None:
    units, rows = drawn()
    found = looked_back(spark, units, rows)
    assert len(found) == len(units)
    for unit in units:
        for name, value in expected(unit, rows).items():
            near = None if value is None else pytest.approx(value, rel=1e-14)
            assert found[unit[0]][name] == near, (unit, name)


def test_the_same_bytes_for_any_partitioning_and_order(spark: SparkSession) -> None:
    units, rows = drawn()
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)  # noqa: S311 - a fixed order
    once = looked_back(spark, units, rows, partitions=3)
    again = looked_back(spark, list(reversed(units)), shuffled, partitions=8)
    assert once == again  # equal doubles, not close ones


def test_a_row_does_not_count_itself_or_what_is_not_known(spark: SparkSession) -> None:
    early = row(NOON, known=NOON - timedelta(minutes=5))  # a flight that left early
    due = row(NOON - timedelta(hours=2), known=NOON + timedelta(hours=1))  # due, not yet left
    left = row(NOON - timedelta(hours=3), known=NOON - timedelta(hours=2))
    at_once = row(NOON - timedelta(hours=1), known=NOON)  # known at the very moment
    found = looked_back(spark, [("u", "a", NOON)], [early, due, left, at_once])
    assert found["u"]["rows"] == 1


def test_the_bounds_of_the_lookback(spark: SparkSession) -> None:
    tick = timedelta(microseconds=1)
    rows = [
        row(NOON - LOOKBACK - tick, x=1.0),
        row(NOON - LOOKBACK, x=2.0),
        row(NOON - tick, x=4.0),
    ]
    found = looked_back(spark, [("u", "a", NOON)], [*rows, row(NOON, x=8.0)], known_at=None)
    assert found["u"]["sum_x"] == 6.0


def test_rows_before_the_window_count_for_its_first_units(spark: SparkSession) -> None:
    start = MARCH.start
    rows = [row(start - timedelta(days=2), x=0.25), row(start - timedelta(days=8), x=0.5)]
    found = looked_back(spark, [("u", "a", start)], rows, span=MARCH)
    assert (found["u"]["rows"], found["u"]["sum_x"]) == (1, 0.25)


def test_nothing_to_count_is_zero_and_everything_else_null(spark: SparkSession) -> None:
    units = [("none", "z", NOON), ("null key", None, NOON)]
    found = looked_back(spark, units, [row(NOON - timedelta(days=1), key=None), row(NOON)])
    for unit in found.values():
        counts = {name: unit[name] for name in ("rows", "with_x", "words")}
        assert set(counts.values()) == {0}
        rest = {name for name in COLUMNS if name not in counts}
        assert {unit[name] for name in rest} == {None}


def test_rows_whose_values_are_all_null(spark: SparkSession) -> None:
    found = looked_back(spark, [("u", "a", NOON)], [row(NOON - timedelta(days=1), x=None)])["u"]
    assert (found["rows"], found["with_x"], found["sum_x"], found["max_x"]) == (1, 0, None, None)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e-9, 1.0, 1e18, 1e200])
def test_sums_keep_a_doubles_precision_at_any_magnitude(spark: SparkSession, size: float) -> None:
    values = [0.1 * size, 0.7 * size, -0.3 * size, 1e-7 * size]
    rows = [row(NOON - timedelta(hours=i + 1), x=value) for i, value in enumerate(values)]
    only = {"sum_x": "sum(x)", "avg_x": "avg(x)"}
    found = looked_back(spark, [("u", "a", NOON)], rows, columns=only)["u"]
    assert found["sum_x"] == pytest.approx(sum(values), rel=1e-14)
    assert found["avg_x"] == pytest.approx(sum(values) / 4, rel=1e-14)


def test_bounds_from_statistics_give_the_same_sums(spark: SparkSession) -> None:
    units, rows = drawn(200)
    only = {"sum_x": "sum(x)", "avg_x": "avg(x)"}
    asked = looked_back(spark, units, rows, columns=only)
    given = looked_back(spark, units, rows, columns=only, bounds={"x": (4321.5, 5000)})
    assert asked == given


def test_a_value_that_has_left_leaves_nothing_behind(spark: SparkSession) -> None:
    """Running sums of doubles would keep a remainder of the large value that went."""
    rows = [row(NOON - timedelta(days=9), x=1e15), row(NOON - timedelta(days=1), x=0.1)]
    units = [("with", "a", NOON - timedelta(days=3)), ("u", "a", NOON)]
    found = looked_back(spark, units, rows, columns={"sum_x": "sum(x)"})
    assert (found["with"]["sum_x"], found["u"]["sum_x"]) == (1e15, 0.1)


def test_values_that_are_not_finite_show(spark: SparkSession) -> None:
    rows = [row(NOON - timedelta(days=2), x=float("nan")), row(NOON - timedelta(days=1), x=1.0)]
    found = looked_back(spark, [("u", "a", NOON)], rows, columns={"sum_x": "sum(x)"})["u"]
    assert found["sum_x"] != found["sum_x"]
