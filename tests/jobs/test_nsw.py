"""A published benchmark through the stages: the NSW experiment, and its treated with CPS controls.

LaLonde 1986; Dehejia and Wahba 1999; the data are in the package `causaldata`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from conf.load import load_study
from conf.profile import load_profile
from conf.windows import parse_span
from jobs import crossfit, estimate, features
from jobs.estimate import read_effects
from jobs.resolve import resolve

pytestmark = pytest.mark.engines

EXPERIMENT = 1794.34
RAW_CPS = -8497.52

STUDY = """
study: nsw
question: Does a job programme raise earnings?
sources: {people: {table: "{lake}/people"}}
units:
  sql: |
    SELECT p.person, p.treat, p.age, p.educ, p.black, p.hisp, p.marr, p.nodegree,
           p.re74, p.re75, p.re78
    FROM people p
  id: person
treatments: {treat: binary}
outcomes: {re78: continuous}
covariates: [age, educ, black, hisp, marr, nodegree, re74, re75]
folds: {k: 5, repetitions: 3}
nuisances:
  outcome: {learner: xgboost, max_depth: 3, learning_rate: 0.05, n_estimators: 80}
  treatment: {learner: xgboost, max_depth: 3, learning_rate: 0.1, n_estimators: 100}
effects:
  - {method: irm, estimand: att}
  - {method: irm}
"""


def people(*names: str) -> pa.Table:
    """Rows of the data sets, treated of the experiment first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # causaldata reads its files with pandas' old options
        import causaldata
        import pandas as pd

        parts = [getattr(causaldata, name).load_pandas().data for name in names]
    if len(parts) > 1:
        parts[0] = parts[0][parts[0]["treat"] == 1]
    frame = pd.concat(parts, ignore_index=True).drop(columns=["data_id"])
    frame.insert(0, "person", [f"{i:06d}" for i in range(len(frame))])
    frame["treat"] = frame["treat"].astype("int64")
    return pa.Table.from_pandas(frame, preserve_index=False)


def run(home: Path, rows: pa.Table) -> dict[str, dict[str, Any]]:
    write_deltalake(str(home / "lake" / "people"), rows)
    (home / "nsw.yaml").write_text(STUDY)
    loaded = load_study(str(home / "nsw.yaml"))
    profile = load_profile("local").model_copy(update={"home": home, "engines": "together"})
    resolved = resolve(loaded, parse_span(None, loaded.study.window), profile)
    fitted = crossfit.run(resolved, features.build(resolved, profile), profile)
    found = estimate.run(resolved, fitted, profile)
    return {row["effect_id"]: row for row in read_effects(profile.record_root, found.key)}


def test_the_experiment(spark: Any, tmp_path: Path) -> None:
    att = run(tmp_path, people("nsw_mixtape"))["irm.att.treat.re78"]
    assert (att["n"], round(att["naive"], 2)) == (445, EXPERIMENT)
    assert att["ci_low"] < EXPERIMENT < att["ci_high"]
    assert att["se_kind"] == "hc0"


def test_cps_controls_move_towards_the_experiment(spark: Any, tmp_path: Path) -> None:
    att = run(tmp_path, people("nsw_mixtape", "cps_mixtape"))["irm.att.treat.re78"]
    assert round(att["naive"], 2) == RAW_CPS
    assert abs(att["theta"] - EXPERIMENT) < 0.25 * abs(RAW_CPS - EXPERIMENT)
