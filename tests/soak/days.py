"""A lake of many days and their features, committed at once: no engine need start."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.plan import feature_columns
from conf.windows import Span, parse_span
from jobs.contracts import STAGES
from jobs.lake import append_once
from jobs.resolve import pin_sources
from tests.jobs import prebuilt

UNITS = 60
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
STUDY = prebuilt.STUDY.replace("every: 1 month", "every: 1 day").replace(
    "  - {method: irm, estimand: ate}\n", "checks: []\n"
)


def label(day: int) -> str:
    """The window of a day."""
    return (FIRST + timedelta(days=day)).strftime("%Y-%m-%d")


def prepare(home: Path, days: int) -> Path:
    """Write lake, study and the features of all days; returns the study's file."""
    lake = pa.concat_tables(_orders(day) for day in range(days))
    write_deltalake(str(home / "lake" / "orders"), lake)
    file = prebuilt.write_study(home.parent, STUDY)
    place, loaded = prebuilt.place(home), prebuilt.loaded(file)
    pins = pin_sources(loaded, place)
    named = {name: (pin.table_id, pin.version) for name, pin in pins.items()}
    sources = [(name, pin.version) for name, pin in pins.items()]
    features, stages = [], []
    for day in range(days):
        span = parse_span(label(day), loaded.study.window)
        key = features_key(loaded.study, span, named)
        rows = prebuilt.features(
            _orders(day).slice(0, UNITS - 1), key, feature_columns(loaded.study)
        )
        features.append(rows)
        stages.append(_stage(key, span, rows, sources))
    path = f"{place.features_root}/orders"
    write_deltalake(path, pa.concat_tables(features), partition_by=["features_key"])
    append_once(place.record_root, "stages", "soak", pa.Table.from_pylist(stages, schema=STAGES))
    return file


def _orders(day: int) -> pa.Table:
    rng = np.random.default_rng([7, day])
    age = rng.normal(40.3, 9.7, UNITS)
    coupon = (rng.random(UNITS) < 1 / (1 + np.exp(-(age - 40) / 12))).astype(int)
    start = FIRST + timedelta(days=day)
    last = start + timedelta(days=1, minutes=5)  # the watermark passes the day's end
    at = [start + timedelta(minutes=20 * each) for each in range(UNITS - 1)] + [last]
    return pa.table(
        {
            "order_id": [f"{day:04d}-{each:03d}" for each in range(UNITS)],
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "shop": [f"s{each % 15}" for each in range(UNITS)],
            "age": age,
            "coupon": coupon,
            "spend": 2.0 * coupon + 0.11 * age + rng.normal(0, 1.3, UNITS),
        }
    )


def _stage(key: str, span: Span, rows: pa.Table, sources: list) -> dict:
    return {
        "stage": "features",
        "key": key,
        "study": "orders",
        "window_start": span.start,
        "window_end": span.end,
        "table": "features/orders",
        "version": 0,
        "rows": len(rows),
        "digest": f"{key[:32]}{span.label}",
        "seconds": 0.1,
        "sources": sources,
        "numerics": numerics_label(),
        "platform": platform_label(),
        "detail": json.dumps(
            {"asserted": ["age"], "history": [], "window": span.label, "clusters": 15}
        ),
        "recorded_at": datetime.now(UTC),
    }
