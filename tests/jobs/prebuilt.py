"""A lake that grows month by month, and features that are there already: no engine need start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import LoadedStudy, load_study
from conf.plan import feature_columns
from conf.profile import Profile, load_profile
from conf.study import Study
from conf.windows import Span, parse_span
from jobs import crossfit, estimate, ledger
from jobs.lake import open_table
from jobs.ledger import Stage
from jobs.resolve import Resolved, resolve

MONTHS = ("2024-01", "2024-02", "2024-03")
UNITS = 240
EFFECT = 2.0
STUDY = """\
study: orders
question: Does a coupon raise spending?
sources:
  orders: {table: "{lake}/orders", event_time: at, watermark: "max(at)"}
window: {every: 1 month}
units:
  sql: |
    SELECT order_id, at, shop, age, coupon, spend FROM orders
    WHERE at >= :window_start AND at < :window_end
  id: order_id
  time: at
  cluster: shop
treatments: {coupon: binary}
outcomes: {spend: continuous}
covariates: [age]
folds: {k: 3}
nuisances: {outcome: linear, treatment: linear}
effects:
  - {method: plr}
  - {method: irm, estimand: ate}
"""
_FEATURES = {
    "features_key": pa.string(),
    "unit_id": pa.string(),
    "cluster_id": pa.string(),
    "unit_time": pa.timestamp("us", tz="UTC"),
    "weight": pa.float64(),
    "fold": pa.list_(pa.int32()),
    "coupon": pa.int64(),
    "spend": pa.float64(),
    "age": pa.float64(),
    "city": pa.string(),
    "kind": pa.string(),
    "depot": pa.string(),
    "gift": pa.string(),
}
CITIES, KINDS = ("Lima", "Oslo", "Rome"), ("new", "old")


def place(home: Path) -> Profile:
    """The local profile in `home`; fits run inline."""
    return load_profile("local").model_copy(update={"home": home})


def orders(month: str, *, units: int = UNITS, shift: float = 0.0, shops: int = 30) -> pa.Table:
    """A month of orders and the first hour of the next; `shift` changes every outcome."""
    year, number = (int(part) for part in month.split("-"))
    start = datetime(year, number, 1, tzinfo=UTC)
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    rng = np.random.default_rng([year, number])
    age = rng.normal(40.3, 9.7, units)
    coupon = (rng.random(units) < 1 / (1 + np.exp(-(age - 40) / 12))).astype(int)
    seconds = rng.uniform(0, (after - start).total_seconds(), units).round()
    at = [start + timedelta(seconds=float(each)) for each in seconds[:-1]]
    return pa.table(
        {
            "order_id": [f"{month}-{each:04d}" for each in range(units)],
            "at": pa.array([*at, after + timedelta(minutes=5)], pa.timestamp("us", tz="UTC")),
            "shop": [f"s{each}" for each in rng.integers(0, shops, units)],
            "age": age,
            "coupon": coupon,
            "spend": EFFECT * coupon + 0.11 * age + rng.normal(0, 1.3, units) + shift,
            "city": [CITIES[each % 7 % 3] for each in range(units)],
            "kind": [KINDS[each % 11 % 2] for each in range(units)],
            "depot": [f"d{each % 1000:03d}" for each in range(units)],
            "gift": [None if each % 5 == 0 else KINDS[each % 2] for each in range(units)],
        }
    )


def write_month(home: Path, month: str, **given: Any) -> None:
    """Commit one month to the lake: one version."""
    write_deltalake(str(home / "lake" / "orders"), orders(month, **given), mode="append")


def write_lake(home: Path, months: tuple[str, ...] = MONTHS) -> None:
    """Commit some months, a version each."""
    for month in months:
        write_month(home, month)


def write_study(folder: Path, text: str = STUDY) -> Path:
    """Write the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "orders.yaml"
    file.write_text(text)
    return file


def resolved(file: Path, window: str, profile: Profile, **versions: int) -> Resolved:
    """The study on a window, on these versions."""
    loaded = load_study(str(file))
    return resolve(loaded, parse_span(window, loaded.study.window), profile, versions)


def prebuild(file: Path, windows: tuple[str, ...], profile: Profile, **versions: int) -> None:
    """Commit the features that Spark would build, with their rows in the ledger."""
    for window in windows:
        _prebuild(resolved(file, window, profile, **versions), profile)


def _prebuild(found: Resolved, profile: Profile) -> Stage:
    study, span = found.loaded.study, found.span
    pins = {name: (pin.table_id, pin.version) for name, pin in found.pins.items()}
    key = features_key(study, span, pins)
    rows = _rows(found, key)
    path = f"{profile.features_root}/{study.study}"
    write_deltalake(path, rows, mode="append", partition_by=["features_key"])
    stage = Stage(
        "features",
        "computed",
        key,
        f"features/{study.study}",
        open_table(path).version(),
        len(rows),
        0.5,
        _digest(rows),
        {"asserted": ["age"], "history": [], "window": span.label, "clusters": 30},
    )
    return ledger.commit(
        profile.record_root,
        stage,
        study=study.study,
        window=(span.start, span.end),
        sources=found.sources,
        numerics=numerics_label(),
        platform=platform_label(),
    )


def _rows(found: Resolved, key: str) -> pa.Table:
    pin = found.pins["orders"]
    source = open_table(pin.path, pin.version).to_pyarrow_table().sort_by("order_id")
    at = source["at"]
    mine = source.filter(pc.and_(_from(at, found.span), _until(at, found.span)))
    return features(mine, key, feature_columns(found.loaded.study))


def features(orders: pa.Table, key: str, own: Iterable[str]) -> pa.Table:
    """Feature rows of these orders under a key, with columns of their own; folds by shop."""
    fold = [[int(shop[1:]) % 3] for shop in orders["shop"].to_pylist()]
    columns = {
        "features_key": [key] * len(orders),
        "unit_id": orders["order_id"],
        "cluster_id": orders["shop"],
        "unit_time": orders["at"],
        "weight": [1.0] * len(orders),
        "fold": pa.array(fold, pa.list_(pa.int32())),
    }
    rows = pa.table(columns | {name: orders[name] for name in own})
    return rows.cast(pa.schema([(name, _FEATURES[name]) for name in rows.column_names]))


def _from(at: pa.ChunkedArray, span: Span) -> pa.ChunkedArray:
    return pc.greater_equal(at, pa.scalar(span.start, at.type))


def _until(at: pa.ChunkedArray, span: Span) -> pa.ChunkedArray:
    return pc.less(at, pa.scalar(span.end, at.type))


def _digest(rows: pa.Table) -> str:
    text = repr(rows.drop_columns(["features_key"]).to_pylist())
    return hashlib.sha256(text.encode()).hexdigest()


def record(file: Path, window: str, profile: Profile) -> Stage:
    """Estimate a study on a window, from prebuilt features, and record it."""
    prebuild(file, (window,), profile)
    found = resolved(file, window, profile)
    return estimate.run(found, crossfit.run(found, built(found, profile), profile), profile)


def built(found: Resolved, profile: Profile) -> Stage:
    """The features stage that `prebuild` committed."""
    pins = {name: (pin.table_id, pin.version) for name, pin in found.pins.items()}
    key = features_key(found.loaded.study, found.span, pins)
    stage = ledger.find(profile.record_root, "features", key)
    assert stage is not None
    return stage


def in_ledger(root: str, study: Study, label: str) -> None:
    """Let the ledger know of a run of a window, without effects."""
    span = parse_span(label, study.window)
    stage = Stage("estimate", "computed", f"run {label}", "effects", 0, 1, 1.0)
    ledger.commit(
        root,
        stage,
        study=study.study,
        window=(span.start, span.end),
        sources={},
        numerics="n",
        platform="p",
    )


def loaded(file: Path) -> LoadedStudy:
    """The study as it is in the file."""
    return load_study(str(file))
