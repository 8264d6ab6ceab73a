"""Tables that are not there, not whole, or not what the study says."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from tests.pipelines.bad_inputs.world import BACKFILL, PLAN, RUN, WINDOW, World, bad

data = partial(bad, "data", by=(RUN, BACKFILL, PLAN))
HISTORY = """\
  cluster: shop
history:
  past: {from: orders, by: shop, lookback: 7 days, columns: {before: AGGREGATE}}
"""


@data("table missing", "source_gone", "orders.yaml", "orders", "orders_2")
def _(world: World) -> None:
    world.table.rename(world.table.with_name("orders_2"))


@data("table without a log", "source_gone", "orders.yaml", "orders")
def _(world: World) -> None:
    shutil.rmtree(world.table / "_delta_log")


@data("table a file", "source_gone", "orders.yaml", "orders")
def _(world: World) -> None:
    shutil.rmtree(world.table)
    world.table.write_text("order_id,at\n")


@data("commit cut short", "source_gone", "orders")
def _(world: World) -> None:
    newest = world.log[-1]
    newest.write_bytes(newest.read_bytes()[:200])


@data("commit of another format", "source_gone", "orders")
def _(world: World) -> None:
    world.log[-1].write_bytes(b"\x00\x01\x02 not JSON")


@data("commit empty", "version_gone", "orders", "1")
def _(world: World) -> None:
    world.log[-1].write_bytes(b"")


@data("first commit gone", "source_gone", "orders")
def _(world: World) -> None:
    world.log[0].unlink()


@data("commit in the middle gone", "source_gone", "orders")
def _(world: World) -> None:
    world.rewrite(lambda rows: rows)
    world.log[1].unlink()


@data("checkpoint corrupt", "source_gone", "orders")
def _(world: World) -> None:
    DeltaTable(str(world.table)).create_checkpoint()
    (found,) = (world.table / "_delta_log").glob("*.checkpoint.parquet")
    found.write_bytes(b"PAR1")
    for each in world.log:
        each.unlink()


@data("reader version of the future", "source_gone", "orders")
def _(world: World) -> None:
    first = world.log[0]
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    for line in lines:
        if "protocol" in line:
            line["protocol"] = {"minReaderVersion": 99, "minWriterVersion": 99}
    first.write_text("".join(json.dumps(line) + "\n" for line in lines))


@data("version that never was", "version_gone", "orders", "7")
def _(world: World) -> None:
    world.edit(("event_time: at,", "event_time: at, version: 7,"))


@data("version whose log was cleaned", "version_gone", "orders", "0")
def _(world: World) -> None:
    world.rewrite(lambda rows: rows)
    DeltaTable(str(world.table)).create_checkpoint()
    for each in world.log[:-1]:
        each.unlink()
    world.edit(("event_time: at,", "event_time: at, version: 0,"))


@data("table empty", "not_mature", "orders", WINDOW)
def _(world: World) -> None:
    world.rewrite(lambda rows: rows.slice(0, 0))


@data("watermark all NULL", "not_mature", "orders", WINDOW)
def _(world: World) -> None:
    world.column("at", lambda rows: pa.nulls(len(rows), rows.schema.field("at").type))


@data("window in the future", "not_mature", "orders", "2030-01", "2030-02-01",
      by=(("run", "{study}", "--window", "2030-01"),
          ("backfill", "{study}", "--from", "2030-01", "--to", "2030-01")))  # fmt: skip
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@data("time column missing", "invalid_study", "orders.yaml", "orders@2", "'at'")
def _(world: World) -> None:
    world.rewrite(lambda rows: rows.rename_columns({"at": "moment"}))


@data("time column a text", "invalid_study", "orders.yaml", "orders@2", "'at'", "string")
def _(world: World) -> None:
    world.column("at", lambda rows: rows["at"].cast(pa.string()).combine_chunks())


@data("watermark of a missing column", "invalid_study", "orders.yaml", "'until'")
def _(world: World) -> None:
    world.edit(("max(at)", "max(until)"))


@data("known_at of a missing column", "invalid_study", "orders.yaml", "'told'")
def _(world: World) -> None:
    world.edit(("event_time: at,", "event_time: at, known_at: told,"))


@data("history by a missing column", "invalid_study", "orders.yaml", "'store'")
def _(world: World) -> None:
    text = HISTORY.replace("AGGREGATE", "count(*)").replace("by: shop", "by: store")
    world.edit(("  cluster: shop\n", text), ("SELECT order_id", "SELECT 's1' AS store, order_id"))


@data("history sums a text", "invalid_study", "orders.yaml", "'city'", "string")
def _(world: World) -> None:
    world.edit(("  cluster: shop\n", HISTORY.replace("AGGREGATE", "sum(city)")))


@data("history of an outcome before it is known", "leak", "orders", "before", WINDOW)
def _(world: World) -> None:
    world.edit(
        ("  cluster: shop\n", HISTORY.replace("AGGREGATE", "avg(spend)")),
        ("{spend: continuous}", "{spend: {kind: continuous, horizon: 1 day}}"),
        (', watermark: "max(at)"', ""),
    )


@data("table outside the roots by a link", "invalid_study", "orders.yaml", "below")
def _(world: World) -> None:
    outside = world.folder / "outside"
    shutil.move(world.table, outside)
    world.table.symlink_to(outside)
    world.profile("allowed_roots: []\n")


@data("source a device", "source_gone", "orders.yaml", "null")
def _(world: World) -> None:
    world.edit(("{lake}/orders", "/dev/null"))


def labelled(world: World, **columns: list[object]) -> Path:
    """Declare the outcome as predicted, with labelled rows."""
    rows = {"hat": [1.5] * 40, "truth": [1.5] * 40, "arm": [0, 1] * 20, "id": list(range(40))}
    world.write("labels", pa.table(rows | columns))
    world.edit(
        (
            "{spend: continuous}",
            "{spend: {kind: continuous, predicted: {column: spend, correct: lcc, calibration: "
            '{table: "{lake}/labels", prediction: hat, truth: truth, arm: arm}}}}',
        )
    )
    return world.home / "lake" / "labels"


@data("calibration table missing", "source_gone", "orders.yaml", "labels", "calibration:spend")
def _(world: World) -> None:
    shutil.rmtree(labelled(world))


@data("calibration without its truth", "invalid_study", "orders.yaml", "'real'")
def _(world: World) -> None:
    labelled(world)
    world.edit(("truth: truth", "truth: real"))


@data("calibration of texts", "invalid_study", "orders.yaml", "'truth'", "string")
def _(world: World) -> None:
    labelled(world, truth=["much"] * 40)
