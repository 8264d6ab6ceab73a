"""Rows that break a promise, and files that Spark cannot read: found while features are built."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.pipelines.bad_inputs.world import BACKFILL, WINDOW, World, bad

rows = partial(bad, "data", by=(BACKFILL,), needs="spark")
FIRST_OF_WINDOW = f"{WINDOW}-0000"


def _some(name: str, *values: object) -> Any:
    """A column with these values in the window's first rows."""

    def change(table: pa.Table) -> pa.Array:
        found = table[name].to_pylist()
        begin = table["order_id"].to_pylist().index(FIRST_OF_WINDOW)
        found[begin : begin + len(values)] = values
        return pa.array(found, table.schema.field(name).type)

    return change


@rows("rows without a key", "null_id", "order_id", WINDOW, "2 rows")
def _(world: World) -> None:
    world.column("order_id", _some("order_id", None, None))


@rows("units twice", "duplicate_ids", "2 unit ids stand in 4 rows", WINDOW, FIRST_OF_WINDOW)
def _(world: World) -> None:
    world.column("order_id", _some("order_id", *[f"{WINDOW}-{i:04d}" for i in (0, 1, 0, 1)]))


@rows("a join that multiplies", "duplicate_ids", WINDOW, "stand in")
def _(world: World) -> None:
    world.edit(("FROM orders\n", "FROM orders CROSS JOIN (VALUES (1), (2)) AS twice\n"))


@rows("rows without a cluster", "null_cluster", "shop", WINDOW, FIRST_OF_WINDOW)
def _(world: World) -> None:
    world.column("shop", _some("shop", None))


@rows("a cluster of one value", "too_few_clusters", "shop", WINDOW, "1 clusters")
def _(world: World) -> None:
    world.column("shop", lambda table: ["s1"] * len(table))


@rows("rows outside the window", "outside_window", "at", WINDOW)
def _(world: World) -> None:
    world.edit(("SELECT order_id, at,", "SELECT order_id, at + INTERVAL 1 DAY AS at,"))


@rows("an empty window", "empty_window", WINDOW, "no units from 2024-02-01")
def _(world: World) -> None:
    world.edit(("at < :window_end", "at < :window_end AND age < -400"))


@rows("a hole in the log", "empty_window", WINDOW)
def _(world: World) -> None:
    first = datetime(2024, 1, 5, tzinfo=UTC)
    last = datetime(2024, 7, 1, tzinfo=UTC)

    def times(table: pa.Table) -> pa.Array:
        return pa.array([first] * (len(table) - 1) + [last], table.schema.field("at").type)

    world.column("at", times)


@rows("infinities in the outcome", "not_finite", "spend", WINDOW, "2 rows")
def _(world: World) -> None:
    world.column("spend", _some("spend", float("inf"), float("-inf")))


@rows("NaN in a covariate", "not_finite", "age", WINDOW, "1 row")
def _(world: World) -> None:
    world.column("age", _some("age", float("nan")))


@rows("a missing outcome", "missing_outcome", "spend", WINDOW, FIRST_OF_WINDOW)
def _(world: World) -> None:
    world.column("spend", _some("spend", None))


@rows("a missing treatment", "missing_treatment", "coupon", WINDOW)
def _(world: World) -> None:
    world.column("coupon", _some("coupon", None))


@rows("a binary treatment of three values", "not_binary", "coupon", WINDOW, "1 row")
def _(world: World) -> None:
    world.column("coupon", _some("coupon", 2))


@rows("an arm that is not declared", "unknown_arm", "kind", "none of the arms new", WINDOW)
def _(world: World) -> None:
    world.edit(
        ("{coupon: binary}", "{kind: {kind: categorical, arms: [new, older], control: new}}"),
        ("coupon, spend", "kind, spend"),
        ("  - {method: plr}\n  - {method: irm, estimand: ate}", "  - {method: apo}"),
    )


@rows("negative weights", "bad_weight", "heavy", WINDOW, "1 row")
def _(world: World) -> None:
    world.column("age", _some("age", -3.5))
    world.edit(
        ("coupon, spend FROM", "coupon, spend, age AS heavy FROM"),
        ("  cluster: shop\n", "  cluster: shop\n  weight: heavy\n"),
    )


@rows("probabilities outside 0 and 1", "bad_propensity", "chance", WINDOW)
def _(world: World) -> None:
    world.edit(
        ("coupon, spend FROM", "coupon, spend, age / 100 + 0.5 AS chance FROM"),
        ("{coupon: binary}", "{coupon: {kind: binary, propensity: chance}}"),
        ("  - {method: plr}\n", ""),
    )


@rows("an outcome of texts", "column_type", "spend", WINDOW, "string")
def _(world: World) -> None:
    world.column("spend", lambda table: table["spend"].cast(pa.string()).combine_chunks())


@rows("a covariate of lists", "column_type", "age", WINDOW, "array")
def _(world: World) -> None:
    world.edit((", age,", ", array(age) AS age,"))


@rows("a column of another type than last month", "schema_conflict", "age", "features/orders")
def _(world: World) -> None:
    world.column("age", lambda table: [f"{each:.0f}" for each in table["age"].to_pylist()])


@rows("a column that the SQL reads and the table lost", "invalid_study", "orders.yaml", "spend")
def _(world: World) -> None:
    world.rewrite(lambda table: table.drop_columns(["spend"]))


@rows("a text that is no number", "sql_failed", "CAST_INVALID_INPUT")
def _(world: World) -> None:
    world.edit((", age,", ", CAST(city AS DOUBLE) AS age,"))


@rows("a division by zero", "sql_failed", "DIVIDE_BY_ZERO")
def _(world: World) -> None:
    world.edit((", age,", ", age / (length(shop) - length(shop)) AS age,"))


def _files(world: World) -> list[Path]:
    """The files of the newest version; a version is one file."""
    return sorted(world.table.glob("*.parquet"), key=lambda file: file.stat().st_mtime)


@rows("files vacuumed", "version_gone", "orders", "1")
def _(world: World) -> None:
    for file in _files(world):
        file.unlink()


@rows("a file cut short", "unreadable_file", "orders", "1")
def _(world: World) -> None:
    for file in _files(world):
        file.write_bytes(file.read_bytes()[:-40])


@rows("a file of another format", "unreadable_file", "orders", "1")
def _(world: World) -> None:
    for file in _files(world):
        file.write_bytes(b"order_id,at\n1,2\n" * 100)


@rows("a watermark behind the window", "not_mature", "orders", WINDOW)
def _(world: World) -> None:
    world.edit(("max(at)", "max(at) - INTERVAL 2 DAYS"))
