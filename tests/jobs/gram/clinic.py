"""A growing table of visits with features that are there already: no engine need start."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.study import Study
from conf.windows import parse_span
from jobs import ledger
from jobs.lake import open_table
from jobs.ledger import Stage
from jobs.resolve import Resolved, resolve

START = datetime(2024, 3, 1, tzinfo=UTC)
STUDY = """\
study: clinic
sources:
  visits: {table: "{lake}/visits", event_time: at}
units:
  sql: |
    SELECT visit_id, at, person, share, dose, call, cost, stay, back, age, bmi, kind, ward
    FROM visits
  id: visit_id
  time: at
  weight: share
  cluster: person
treatments: {dose: continuous, call: binary}
outcomes:
  cost: {kind: continuous, missing: drop}
  stay: continuous
  back: binary
covariates: [age, bmi, kind, ward]
folds: {k: 3, repetitions: 2}
nuisances:
  outcome: &gram {learner: gram, segments: 3, slice_days: 1}
  treatment: *gram
effects:
  - {method: plr, marginal: true, by: [ward, ward*kind]}
checks: [attrition, missingness, nuisance_quality]
"""
_NUMBERS = ("share", "dose", "call", "cost", "stay", "back", "age", "bmi", "ward")


def visits(days: Sequence[int], *, a_day: int = 700, people: int = 300) -> pa.Table:
    """Visits of some days: dose raises the cost by 1, a call by -0.5."""
    parts = [_day(day, a_day, people) for day in days]
    return pa.concat_tables(parts)


def _day(day: int, n: int, people: int) -> pa.Table:
    rng = np.random.default_rng([71, day])
    age, bmi = rng.normal(50.3, 11.7, n), rng.gamma(9.1, 2.7, n)
    kind = rng.integers(0, 4, n)
    curve = np.sin(age / 9.0) + 0.4 * (kind == 2)
    dose = 0.8 * curve + rng.normal(0.0, 1.1, n)
    call = (rng.random(n) < 1.0 / (1.0 + np.exp(-0.7 * curve))).astype(float)
    base = dose - 0.5 * call + curve
    cost, stay = base + rng.normal(0.0, 1.3, n), 2.0 + 0.3 * base + rng.normal(0.0, 0.7, n)
    bmi[rng.random(n) < 0.07] = np.nan
    cost[rng.random(n) < 0.11] = np.nan
    person = rng.integers(0, people, n)
    seconds = rng.uniform(0.0, 86_399.0, n)
    at = [START + timedelta(days=day, seconds=float(each)) for each in seconds]
    labels = np.array(["new", "old", "emergency", None], dtype=object)[kind]
    return pa.table(
        {
            "visit_id": [f"{day:03d}-{i:05d}" for i in range(n)],
            "at": pa.array(at, pa.timestamp("us", tz="UTC")),
            "person": [f"p{each}" for each in person],
            "share": rng.uniform(0.5, 2.0, n),
            "dose": dose,
            "call": call,
            "cost": pa.array(cost, from_pandas=True),
            "stay": stay,
            "back": (rng.random(n) < 0.3 + 0.1 * call).astype(float),
            "age": age,
            "bmi": pa.array(bmi, from_pandas=True),
            "kind": pa.array(labels.tolist(), pa.string()),
            "ward": rng.integers(0, 3, n).astype(float),
        }
    )


def place(home: Path, *, inline: bool = True, cpus: int = 2, **given: Any) -> Profile:
    """The local profile in `home`."""
    base = load_profile("local")
    ray = base.ray.model_copy(update={"inline_below": 10**9 if inline else 0, "num_cpus": cpus})
    return base.model_copy(update={"home": home, "engines": "together", "ray": ray} | given)


def write(home: Path, rows: pa.Table, text: str = STUDY) -> Path:
    """Commit the source's rows and write the study's file."""
    write_deltalake(str(home / "lake" / "visits"), rows, mode="overwrite")
    file = home / "clinic.yaml"
    file.write_text(text)
    return file


def prebuild(
    file: Path, profile: Profile, *, files: int = 2, seed: int = 0
) -> tuple[Resolved, Stage]:
    """Commit the features that Spark would build, in so many files, their rows in any order."""
    loaded = load_study(str(file))
    found = resolve(loaded, parse_span(None, loaded.study.window), profile, {})
    pin = found.pins["visits"]
    pins = {"visits": (pin.table_id, pin.version)}
    key = features_key(loaded.study, found.span, pins)
    known = ledger.find(profile.record_root, "features", key)
    if known is not None:
        return found, known
    study = loaded.study
    source = open_table(pin.path, pin.version).to_pyarrow_table()
    source = source.take(np.random.default_rng(seed).permutation(len(source)))
    rows = _features(source, key, study)
    path = f"{profile.features_root}/{study.study}"
    for part in np.array_split(np.arange(len(rows)), files):
        write_deltalake(path, rows.take(part), mode="append", partition_by=["features_key"])
    owner = study.units.cluster or "visit_id"
    text = repr(sorted(map(repr, rows.drop_columns(["features_key"]).to_pylist())))
    stage = Stage(
        "features", "computed", key, f"features/{study.study}", open_table(path).version(),
        len(rows), 0.5, hashlib.sha256(text.encode()).hexdigest(),
        {"asserted": [], "history": [], "window": found.span.label,
         "clusters": len(pc.unique(source[owner]))},
    )  # fmt: skip
    return found, ledger.commit(
        profile.record_root, stage, study=study.study,
        window=(found.span.start, found.span.end), sources=found.sources,
        numerics=numerics_label(), platform=platform_label(),
    )  # fmt: skip


def _features(source: pa.Table, key: str, study: Study) -> pa.Table:
    k, reps, cluster = study.folds.k, study.folds.repetitions, study.units.cluster
    owners = source[cluster or "visit_id"].to_pylist()
    folds = [
        [xxhash.xxh64_intdigest(f"|{rep}|{owner}".encode()) % k for rep in range(reps)]
        for owner in owners
    ]
    columns: dict[str, Any] = {
        "features_key": [key] * len(source),
        "unit_id": source["visit_id"],
        "cluster_id": source[cluster] if cluster else pa.nulls(len(source), pa.string()),
        "unit_time": source["at"],
        "weight": source["share"] if study.units.weight else pa.repeat(1.0, len(source)),
        "fold": pa.array(folds, pa.list_(pa.int32())),
        "kind": source["kind"],
    }
    return pa.table(columns | {name: source[name] for name in _NUMBERS[1:]})
