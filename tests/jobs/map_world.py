"""A trial whose outcome is predicted, its calibration, and features that no engine need build."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from jobs import ledger
from jobs.lake import open_table
from jobs.ledger import Stage
from jobs.resolve import Resolved, resolve

TAU = 1.0
SHRINK = 0.6
STUDY = """\
study: villages
question: Does a grant raise wealth, as a map of predicted wealth sees it?
sources:
  villages: {table: "{lake}/villages"}
window: {every: all}
units:
  sql: |
    SELECT village, district, age, region, treated, wealth_hat FROM villages
  id: village
  cluster: district
treatments: {treated: binary}
outcomes:
  wealth:
    kind: continuous
    predicted:
      column: wealth_hat
      calibration:
        table: "{lake}/calibration"
        prediction: wealth_hat
        truth: wealth
        arm: treated
        group: region
        id: village
      correct: CORRECT
covariates: [age]
folds: {k: 3, repetitions: 2}
nuisances: {outcome: linear, treatment: linear}
effects:
  - {method: irm, by: [region]}
"""


def study(correct: str = "lcc", *changes: tuple[str, str]) -> str:
    """The study's text with its correction, and with further edits."""
    text = STUDY.replace("CORRECT", correct)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def villages(
    n: int, seed: int, *, tau: float = TAU, k: float = SHRINK, residual: bool = False
) -> pa.Table:
    """`n` villages: age moves treatment and wealth; the prediction shrinks wealth by `k`.

    With `residual` the prediction has the right mean given itself, arm by arm (P(Y | Yhat) is
    stable): then the naive effect is right, and a correction is wrong.
    """
    rng = np.random.default_rng(seed)
    age = rng.standard_normal(n)
    treated = (rng.random(n) < 1.0 / (1.0 + np.exp(-0.5 * age))).astype(np.int64)
    wealth = tau * treated + 0.5 * age + rng.standard_normal(n)
    noise = rng.standard_normal(n)
    hat = 0.3 + k * wealth + np.sqrt(k * (1.0 - k) * (1.25 + tau**2 / 4)) * noise
    if residual:
        hat, wealth = wealth, wealth + noise
    return pa.table(
        {
            "village": pa.array([f"{seed}-{i:05d}" for i in range(n)]),
            "district": pa.array([f"d{i % 60:02d}" for i in range(n)]),
            "age": pa.array(age),
            "region": pa.array(["north" if i % 3 else "south" for i in range(n)]),
            "treated": pa.array(treated),
            "wealth_hat": pa.array(hat),
            "wealth": pa.array(wealth),
        }
    )


def place(home: Path) -> Profile:
    """The local profile in `home`; fits run inline."""
    return load_profile("local").model_copy(update={"home": home})


def write(
    home: Path,
    text: str,
    trial: pa.Table | None = None,
    calibration: pa.Table | None = None,
) -> Resolved:
    """Write the lake, the study and its features under `home`, and resolve it."""
    trial = villages(1500, 1) if trial is None else trial
    calibration = villages(600, 2) if calibration is None else calibration
    profile = place(home)
    write_deltalake(f"{home}/lake/villages", trial.drop_columns(["wealth"]), mode="overwrite")
    write_deltalake(f"{home}/lake/calibration", calibration, mode="overwrite")
    file = home / "villages.yaml"
    file.write_text(text)
    loaded = load_study(str(file))
    return resolve(loaded, parse_span(None, loaded.study.window), profile)


def features(found: Resolved, profile: Profile) -> Stage:
    """Commit the features that Spark would build, with their row in the ledger."""
    study, span = found.loaded.study, found.span
    pins = {name: (pin.table_id, pin.version) for name, pin in found.pins.items()}
    key = features_key(study, span, pins)
    done = ledger.find(profile.record_root, "features", key)
    if done is not None:
        return done
    source = open_table(found.pins["villages"].path).to_pyarrow_table().sort_by("village")
    n = len(source)
    reps = study.folds.repetitions
    fold = [
        [(int(each[1:]) + int(each[1:]) // 7 * rep) % study.folds.k for rep in range(reps)]
        for each in source["district"].to_pylist()
    ]
    clustered = study.units.cluster is not None
    rows = pa.table(
        {
            "features_key": pa.array([key] * n),
            "unit_id": source["village"],
            "cluster_id": source["district"] if clustered else pa.nulls(n, pa.string()),
            "unit_time": pa.nulls(n, pa.timestamp("us", tz="UTC")),
            "weight": pa.array([1.0] * n),
            "fold": pa.array(fold, pa.list_(pa.int32())),
            **{name: source[name] for name in ("treated", "wealth_hat", "age", "region")},
        }
    )
    path = f"{profile.features_root}/{study.study}"
    write_deltalake(path, rows, mode="append", partition_by=["features_key"])
    text = repr(rows.drop_columns(["features_key"]).to_pylist())
    stage = Stage(
        "features", "computed", key, f"features/{study.study}", open_table(path).version(), n, 0.1,
        hashlib.sha256(text.encode()).hexdigest(),
        {"asserted": ["age"], "history": [], "window": span.label, "clusters": 60},
    )  # fmt: skip
    return ledger.commit(
        profile.record_root,
        stage,
        study=study.study,
        window=(span.start, span.end),
        sources={name: pin.version for name, pin in found.pins.items()},
        numerics=numerics_label(),
        platform=platform_label(),
    )
