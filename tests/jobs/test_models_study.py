"""Arms, instruments and known propensities: from features to the record and its pages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.profile import load_profile
from conf.windows import ALL
from estimators.errors import ContractError, NotEstimableError
from jobs import crossfit, estimate, features, ledger
from jobs.lake import open_table, read_record
from jobs.ledger import Stage
from jobs.pages import note
from jobs.pages.evidence import gather
from jobs.pages.figures import draw
from jobs.preview import preview
from jobs.resolve import resolve

STUDY = """\
study: clinics
question: What do a dose and a programme do?
sources:
  clinics: {table: "{lake}/clinics"}
units:
  sql: SELECT id, dose, offer, took, p_offer, lottery, age, region, spend FROM clinics
  id: id
treatments:
  dose: {kind: categorical, arms: ["0", "1", "2"], control: "0"}
  took: binary
instruments:
  offer: {kind: binary, propensity: p_offer}
  lottery: continuous
outcomes: {spend: {kind: continuous, missing: drop}}
covariates: [age]
folds: {k: 3}
nuisances: {outcome: linear, treatment: linear}
effects:
  - {method: apo, treatment: dose, by: [region]}
  - {method: apo, treatment: dose, estimand: ate}
  - {method: iivm, treatment: took, instrument: offer}
  - {method: pliv, treatment: took, instrument: lottery}
"""
TRUTHS = {"apo.ate.dose=1.spend": 1.0, "apo.ate.dose=2.spend": 3.0, "iivm.late.took.spend": 2.0}
COLUMNS = ("dose", "took", "spend", "age", "region", "offer", "lottery", "p_offer")


def clinics(n: int = 1200, seed: int = 5) -> pa.Table:
    """The doses raise spending by 1 and 3; taking up an offer, for those whom it moves, by 2."""
    rng = np.random.default_rng(seed)
    age = rng.standard_normal(n)
    dose = np.argmax(np.stack([0.5 * age, 0 * age, -0.5 * age]) + rng.gumbel(size=(3, n)), axis=0)
    p_offer = np.where(age > 0, 0.6, 0.4)
    offer = (rng.random(n) < p_offer).astype(np.int64)
    kind = rng.random(n)
    lottery = rng.standard_normal(n)
    took = np.where(kind < 0.6, offer, (kind + 0.2 * lottery > 0.9)).astype(np.int64)
    spend = np.array([0.0, 1.0, 3.0])[dose] + 2.0 * took + age + (kind > 0.6)
    spend = spend + 0.5 * rng.standard_normal(n)
    return pa.table(
        {
            "id": [f"c{i:05d}" for i in range(n)],
            "dose": dose,
            "offer": offer,
            "took": took,
            "p_offer": p_offer,
            "lottery": lottery,
            "age": age,
            "region": ["north" if i % 3 else "south" for i in range(n)],
            "spend": pa.array([None if i % 40 == 0 else float(s) for i, s in enumerate(spend)]),
        }
    )


def run(home: Path, text: str = STUDY, rows: pa.Table | None = None, rows_built=None):
    """The record of a study whose features are there already, unless `rows_built` builds them."""
    rows = clinics() if rows is None else rows
    profile = load_profile("local").model_copy(update={"home": home})
    write_deltalake(f"{home}/lake/clinics", rows, mode="overwrite")
    file = home / "clinics.yaml"
    file.write_text(text)
    found = resolve(load_study(str(file)), ALL, profile)
    if rows_built is not None:
        return _recorded(found, rows_built(found, profile), profile)
    key = features_key(
        found.loaded.study, ALL, {n: (p.table_id, p.version) for n, p in found.pins.items()}
    )
    n = len(rows)
    table = pa.table(
        {
            "features_key": [key] * n,
            "unit_id": rows["id"],
            "cluster_id": pa.nulls(n, pa.string()),
            "unit_time": pa.nulls(n, pa.timestamp("us", tz="UTC")),
            "weight": [1.0] * n,
            "fold": pa.array([[i % 3] for i in range(n)], pa.list_(pa.int32())),
            **{name: rows[name] for name in COLUMNS},
        }
    )
    path = f"{profile.features_root}/clinics"
    write_deltalake(path, table, mode="append", partition_by=["features_key"])
    detail = {"asserted": ["age"], "history": [], "window": "all", "clusters": n}
    version = open_table(path).version()
    stage = Stage("features", "computed", key, "features/clinics", version, n, 0.1, key, detail)
    built = ledger.commit(
        profile.record_root, stage, study="clinics", window=(ALL.start, ALL.end),
        sources=found.sources, numerics=numerics_label(), platform=platform_label(),
    )  # fmt: skip
    return _recorded(found, built, profile)


def _recorded(found, built: Stage, profile):
    done = estimate.run(found, crossfit.run(found, built, profile), profile)
    effects = estimate.read_effects(profile.record_root, done.key)
    checks = read_record(profile.record_root, "checks").to_pylist()
    return {row["effect_id"]: row for row in effects}, checks, (found, done, profile)


def test_the_record_of_arms_and_instruments(tmp_path: Path) -> None:
    effects, checks, (found, _, profile) = run(tmp_path)
    whole = [name for name in effects if "@" not in name]
    assert whole == [
        "apo.ate.dose=1.spend", "apo.ate.dose=2.spend", "apo.mean.dose=0.spend",
        "apo.mean.dose=1.spend", "apo.mean.dose=2.spend", "iivm.late.took.spend",
        "pliv.slope.took.spend",
    ]  # fmt: skip
    assert len(effects) == len(whole) + 6
    pair, mean = effects["apo.ate.dose=2.spend"], effects["apo.mean.dose=2.spend"]
    assert (pair["treatment"], pair["arm"], pair["control"]) == ("dose", "2", "0")
    assert (mean["treatment"], mean["arm"], mean["control"]) == ("dose", "2", None)
    for name, truth in TRUTHS.items():
        assert abs(effects[name]["theta"] - truth) < 4 * effects[name]["se"]
    by_arm = {arm: effects[f"apo.mean.dose={arm}.spend"] for arm in "012"}
    assert pair["theta"] == pytest.approx(by_arm["2"]["theta"] - by_arm["0"]["theta"], rel=1e-9)
    assert pair["naive"] == pytest.approx(by_arm["2"]["naive"] - by_arm["0"]["naive"], rel=1e-9)
    named = {(row["effect_id"], row["check"], row["metric"]): row for row in checks}
    strength = named["iivm.late.took.spend", "instrument_strength", "first_stage_f"]
    assert strength["passed"]
    assert strength["value"] > 100
    overlap = json.loads(named["apo.ate.dose=2.spend", "overlap", "ess_share"]["detail"])
    assert (overlap["treatment"], overlap["arms"]) == ("dose", ["0", "2"])
    assert set(overlap["hist"]) == {"0", "2"}
    late = json.loads(named["iivm.late.took.spend", "attrition", "gap"]["detail"])
    assert (late["treatment"], late["arms"]) == ("offer", ["0", "1"])
    # A second run finds everything in the record.
    again = crossfit.run(found, ledger.find(profile.record_root, "features", done_key(found)),
                         profile)  # fmt: skip
    assert again.status == "reused"


def done_key(found) -> str:
    pins = {name: (pin.table_id, pin.version) for name, pin in found.pins.items()}
    return features_key(found.loaded.study, ALL, pins)


def test_pages_name_arms_and_instruments(tmp_path: Path) -> None:
    _, _, (found, done, profile) = run(tmp_path)
    evidence = gather(found, done.key, profile.record_root)
    assert {"spend", "spend:mean"} == set(evidence.ranges)
    figures = draw(evidence)
    assert "figures/overlap.png" in figures
    sentences = [note.sentence(row) for row in evidence.whole()]
    assert sentences[0].startswith("with dose=0 the mean of spend is")
    assert any("dose=2 (against 0) raises spend by" in each for each in sentences)


def test_a_weak_instrument_is_doubtful(tmp_path: Path) -> None:
    rows = clinics()
    noise = pa.array(np.random.default_rng(1).standard_normal(len(rows)))
    place = rows.column_names.index("lottery")
    _, checks, (found, done, profile) = run(tmp_path, rows=rows.set_column(place, "lottery", noise))
    (weak,) = [
        row for row in checks
        if (row["effect_id"], row["check"]) == ("pliv.slope.took.spend", "instrument_strength")
    ]  # fmt: skip
    assert weak["value"] < 10
    assert weak["passed"] is False
    evidence = gather(found, done.key, profile.record_root)
    assert evidence.verdicts["pliv.slope.took.spend"].verdict == "doubtful"
    assert "lottery hardly moves took" in note.run_note(evidence, "1", "RID", {})


def test_an_instrument_that_is_constant_is_named(tmp_path: Path) -> None:
    rows = clinics(300)
    place = rows.column_names.index("offer")
    constant = rows.set_column(place, "offer", pa.array([1] * len(rows)))
    start, end = STUDY.index("  - {method: apo"), STUDY.index("  - {method: iivm")
    text = STUDY[:start] + STUDY[end : STUDY.index("  - {method: pliv")]
    with pytest.raises(NotEstimableError, match=r"iivm\.late\.took\.spend: constant_instrument"):
        run(tmp_path, text, constant)


@pytest.mark.engines
def test_through_spark(tmp_path: Path, spark) -> None:
    """The real SQL, with arms that are texts: the same effects, within their errors."""
    rows = clinics()
    place = rows.column_names.index("dose")
    texts = rows.set_column(place, "dose", rows["dose"].cast(pa.string()))
    effects, _, (found, _, profile) = run(tmp_path, rows=texts, rows_built=features.build)
    alone, _, _ = run(tmp_path / "numbers", rows=rows, rows_built=features.build)
    assert set(effects) == set(alone)
    for name, row in effects.items():
        assert row["theta"] == alone[name]["theta"]
        assert row["se"] == alone[name]["se"]
    for name, truth in TRUTHS.items():
        assert abs(effects[name]["theta"] - truth) < 4 * effects[name]["se"]
    assert preview(found, profile).treatments[0].arms[2].value == "2"


@pytest.mark.engines
def test_a_value_that_is_no_arm_is_named(tmp_path: Path, spark) -> None:
    rows = clinics(300)
    place = rows.column_names.index("dose")
    odd = rows.set_column(place, "dose", pa.array([7, *rows["dose"].to_pylist()[1:]]))
    with pytest.raises(ContractError, match="1 row whose dose is none of the arms 0, 1, 2"):
        run(tmp_path, rows=odd, rows_built=features.build)
