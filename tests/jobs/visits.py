"""A small lake with everything that breaks determinism: non-integer doubles, NULLs, history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

STUDY = """
study: visits
question: Does a reminder raise spending?
sources:
  visits: {table: "{lake}/visits", event_time: at, known_at: "at + INTERVAL 1 HOUR"}
window: {every: 1 month}
units:
  sql: |
    SELECT v.visit_id, v.at, v.person, v.reminder, v.spend, v.returned, v.age, v.region
    FROM visits v
    WHERE v.at >= :window_start AND v.at < :window_end
  id: visit_id
  time: at
  cluster: person
history:
  past:
    from: visits
    by: person
    lookback: 30 days
    columns: {visits_30d: count(*), spend_30d: avg(spend), total_30d: sum(spend)}
treatments: {reminder: binary}
outcomes:
  spend: {kind: continuous, horizon: 1 day, missing: drop}
  returned: binary
covariates: [age, region, visits_30d, spend_30d, total_30d]
folds: {k: 3, repetitions: 2}
nuisances:
  outcome: {learner: xgboost, max_depth: 3, learning_rate: 0.1, n_estimators: 60, subsample: 0.8}
  treatment: {learner: xgboost, max_depth: 2, learning_rate: 0.1, n_estimators: 40}
effects:
  - {method: plr}
  - {method: irm, by: [region]}
  - {method: irm, estimand: att}
"""


def visits(n: int = 4000, people: int = 300, seed: int = 7) -> pa.Table:
    """`n` visits in January and February 2024; the effect of a reminder on spending is 2."""
    rng = np.random.default_rng(seed)
    person = rng.integers(0, people, n)
    age = rng.normal(40.0, 12.3, n)
    region = np.array(["north", "south", "east", None], dtype=object)[rng.integers(0, 4, n)]
    reminder = (rng.random(n) < 1.0 / (1.0 + np.exp(-(age - 40.0) / 12.0))).astype(int)
    spend = 2.0 * reminder + 0.1 * age + rng.normal(0.0, 1.7, n) + 0.3 * (person % 7)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    at = [start + timedelta(seconds=float(s)) for s in rng.uniform(0.0, 60 * 86400.0, n).round(3)]
    return pa.table(
        {
            "visit_id": pa.array([f"v{i:05d}" for i in range(n)]),
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "person": pa.array([f"p{i}" for i in person]),
            "reminder": pa.array(reminder),
            "spend": pa.array([None if i % 40 == 0 else float(s) for i, s in enumerate(spend)]),
            "returned": pa.array((spend > np.median(spend)).astype(int)),
            "age": pa.array(age),
            "region": pa.array(region.tolist(), pa.string()),
        }
    )


def write(home: Path, rows: pa.Table | None = None, *, shuffled: int | None = None) -> Path:
    """Write the lake and the study under `home`; returns the study's file."""
    rows = visits() if rows is None else rows
    if shuffled is not None:
        rows = rows.take(np.random.default_rng(shuffled).permutation(len(rows)))
    write_deltalake(str(home / "lake" / "visits"), rows)
    study = home / "visits.yaml"
    study.write_text(STUDY)
    return study
