"""The effects digest of the contract: recomputed from its words, and what moves it."""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.contracts import EFFECTS
from jobs.estimate import effects_digest, read_effects
from jobs.lake import append_once

LEFT_OUT = {"run_key", "sources", "numerics", "platform", "recorded_at"}


def effect_row(effect_id: str = "irm.ate.rain.dep_delay", **changes: Any) -> dict[str, Any]:
    row = {
        "run_key": "k" * 64, "study": "rain_delays",
        "window_start": datetime(2013, 1, 1, 5, tzinfo=UTC),
        "window_end": datetime(2014, 1, 1, 5, tzinfo=UTC),
        "effect_id": effect_id, "method": "irm", "estimand": "ate", "treatment": "rain",
        "arm": None, "control": None, "outcome": "dep_delay", "group_by": None,
        "group_value": None, "n": 326993, "n_clusters": 365, "folds": 5, "reps": 1,
        "theta": 22.1 / 3, "se": 0.1 + 0.2, "se_kind": "cluster:flight_date", "se_hc0": 1e-300,
        "level": 0.95, "ci_low": -0.0, "ci_high": 1e22, "p_value": 5e-324, "p_adjusted": 1.0,
        "band_low": -1.5, "band_high": 2.5, "naive": 19.6, "clipped_share": 0.0, "status": "ok",
        "error_code": None, "sources": [("flights", 11)], "numerics": "features=1",
        "platform": "linux", "recorded_at": datetime(2026, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    assert set(row) == set(EFFECTS.names)
    return row | changes


def by_the_words(rows: list[dict[str, Any]]) -> str:
    """DESIGN, *effects_digest*, written a second time."""
    table = []
    for row in sorted(rows, key=lambda each: each["effect_id"]):
        entry = {}
        for field in EFFECTS:
            if field.name in LEFT_OUT:
                continue
            value = row[field.name]
            if value is not None and pa.types.is_floating(field.type):
                value = "".join(f"{byte:02x}" for byte in struct.pack(">d", value))
            elif value is not None and pa.types.is_timestamp(field.type):
                value = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            entry[field.name] = value
        table.append(entry)
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8")).hexdigest()


ROWS = [
    effect_row(),
    effect_row("irm.ate.rain.dep_delay@origin=JFK", group_by="origin", group_value="JFK"),
    effect_row("irm.ate.rain.cancelled", theta=None, se=None, status="failed",
               error_code="empty_arm", n_clusters=None),
    effect_row("irm.ate.rain.dep_delay@carrier=Ø\"", group_by="carrier", group_value='Ø"'),
]  # fmt: skip


def test_the_digest_is_the_contracts() -> None:
    assert effects_digest(ROWS) == by_the_words(ROWS)


def test_the_order_of_rows_and_of_columns_is_nothing() -> None:
    shuffled = [dict(reversed(list(row.items()))) for row in reversed(ROWS)]
    assert effects_digest(shuffled) == effects_digest(ROWS)


@pytest.mark.parametrize("column", EFFECTS.names)
def test_what_moves_it(column: str) -> None:
    """Every column but the five that the contract leaves out."""
    row = effect_row()
    other = {
        "string": "something else", "int64": 7, "int32": 7, "double": 0.125,
        "timestamp[us, tz=UTC]": datetime(2020, 1, 1, tzinfo=UTC),
        "map<string, int64>": [("flights", 12)],
    }[str(EFFECTS.field(column).type)]  # fmt: skip
    moved = effects_digest([row | {column: other}]) != effects_digest([row])
    assert moved is (column not in LEFT_OUT)


def test_the_last_bit_of_a_double_moves_it() -> None:
    assert effects_digest([effect_row(theta=0.1 + 0.2)]) != effects_digest([effect_row(theta=0.3)])
    assert effects_digest([effect_row(naive=0.0)]) != effects_digest([effect_row(naive=-0.0)])


def test_null_is_not_zero_nor_empty() -> None:
    found = [effects_digest([effect_row(group_value=value)]) for value in (None, "", "null")]
    found += [effects_digest([effect_row(naive=value)]) for value in (None, 0.0)]
    assert len(set(found)) == len(found)


def test_the_zone_of_a_time_is_nothing() -> None:
    """New York's midnight is 05:00Z: one instant, one digest."""
    local = datetime(2013, 1, 1, tzinfo=timezone(timedelta(hours=-5)))
    assert effects_digest([effect_row(window_start=local)]) == effects_digest([effect_row()])


def test_one_row_more_moves_it() -> None:
    assert effects_digest(ROWS[:2]) != effects_digest(ROWS)
    assert effects_digest([]) == by_the_words([])


def test_the_record_gives_the_same_digest(tmp_path: Path) -> None:
    """What is recorded can be checked by anyone: the digest of the rows read back."""
    root = str(tmp_path)
    key = "k" * 64
    other = [effect_row(run_key="other", theta=1.0)]
    append_once(root, "effects", key, pa.Table.from_pylist(ROWS, schema=EFFECTS))
    append_once(root, "effects", "other", pa.Table.from_pylist(other, schema=EFFECTS))
    found = read_effects(root, key)
    assert [row["effect_id"] for row in found] == sorted(row["effect_id"] for row in ROWS)
    assert effects_digest(found) == effects_digest(ROWS)
