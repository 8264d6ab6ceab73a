"""A small real study: 600 units in 60 clusters, one month, one confounder, non-integer values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

ROWS, DAYS, EFFECT = 600, 30, 2.0
WINDOW = "2013-01"
STUDY = """\
study: coupons
question: Does a coupon raise spending?
sources:
  orders: {table: "{lake}/orders", event_time: at}
window: {every: 1 month, timezone: UTC}
units:
  sql: |
    SELECT order_id, at, shop, age, city, coupon, spend FROM orders
    WHERE at >= :window_start AND at < :window_end
  id: order_id
  time: at
  cluster: shop
treatments: {coupon: binary}
outcomes: {spend: continuous}
covariates: [age, city]
folds: {k: 3}
nuisances:
  outcome: {learner: xgboost, max_depth: 2, n_estimators: 20}
  treatment: {learner: xgboost, max_depth: 2, n_estimators: 20}
effects:
  - {method: plr}
  - {method: irm, estimand: ate, by: [city]}
"""


def write_orders(home: Path, rows: int = ROWS) -> None:
    """Commit the study's table into the home's lake."""
    rng = np.random.default_rng(7)
    age = rng.normal(40.3, 9.7, rows)
    coupon = (rng.uniform(size=rows) < 1 / (1 + np.exp(-(age - 40) / 12))).astype("int32")
    begin = datetime(2013, 1, 1, 1, tzinfo=UTC)
    at = [begin + timedelta(hours=float(each)) for each in rng.uniform(0, 24 * DAYS, rows)]
    table = pa.table(
        {
            "order_id": pa.array(np.arange(rows), pa.int64()),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "shop": [f"s{each}" for each in rng.integers(0, 60, rows)],
            "age": age,
            "city": [("Oslo", "Rome", "Lima")[each] for each in rng.integers(0, 3, rows)],
            "coupon": coupon,
            "spend": EFFECT * coupon + 0.11 * age + rng.normal(0, 1.3, rows),
        }
    )
    write_deltalake(str(home / "lake" / "orders"), table)


def write_study(folder: Path, text: str = STUDY) -> Path:
    """Write the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "coupons.yaml"
    file.write_text(text)
    return file
