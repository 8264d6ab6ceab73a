"""Predicted outcomes in a study: faults, the plan, and keys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from yaml import safe_load

from conf.gates import checks_of
from conf.keys import crossfit_inputs, crossfit_key, features_key, study_key
from conf.load import load_study, parse_study
from conf.plan import correction_tables, effect_specs, feature_columns
from conf.schema import study_schema
from conf.windows import parse_span

STUDY = """\
study: villages
sources: {villages: {table: "{lake}/villages"}}
units:
  sql: |
    SELECT village, age, region, treated, wealth_hat, rooms FROM villages
  id: village
treatments: {treated: binary}
outcomes:
  wealth:
    kind: continuous
    predicted:
      column: wealth_hat
      calibration:
        {table: "{lake}/labels", prediction: hat, truth: wealth, arm: treated, id: village}
      correct: auto
  rooms: {kind: continuous}
covariates: [age]
effects:
  - {method: irm, by: [region]}
  - {method: plr}
publish:
  gates:
    "irm+lcc.*": {correction.reach: "<= 0.1"}
"""
SPAN = parse_span(None, load_study("rain_delays").study.window.model_copy(update={"every": "all"}))
PINS = {"villages": ("id-of-villages", 3)}
LABELS = {"calibration:wealth": ("id-of-labels", 5)}


def parsed(*changes, text=STUDY):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return parse_study(text, Path("villages.yaml"))


def ids(study):
    return [each.effect_id for each in effect_specs(study)]


def test_auto_plans_all_that_the_gate_may_choose():
    assert ids(parsed()) == [
        "irm.ate.treated.wealth", "irm+lcc.ate.treated.wealth", "irm+tweedie.ate.treated.wealth",
        "irm+ppi.ate.treated.wealth", "irm.ate.treated.rooms", "plr.slope.treated.wealth",
        "plr+lcc.slope.treated.wealth", "plr+tweedie.slope.treated.wealth",
        "plr.slope.treated.rooms",
    ]  # fmt: skip


@pytest.mark.parametrize("correct", ["lcc", "tweedie", "ppi", "none"])
def test_one_correction_stands_beside_the_uncorrected_effect(correct):
    gates = ("irm+lcc.*", "irm.*")
    found = ids(parsed(("correct: auto", f"correct: {correct}"), gates))
    mine = [each for each in found if each.startswith("irm") and each.endswith("wealth")]
    more = [] if correct == "none" else [f"irm+{correct}.ate.treated.wealth"]
    assert mine == ["irm.ate.treated.wealth", *more]


def test_the_prediction_is_the_features_column_and_ppi_has_no_groups():
    study = parsed()
    assert feature_columns(study) == ("treated", "wealth_hat", "rooms", "age", "region")
    specs = {each.effect_id: each for each in effect_specs(study)}
    assert specs["irm+lcc.ate.treated.wealth"].source == "wealth_hat"
    assert specs["irm+lcc.ate.treated.wealth"].column == "wealth+lcc"
    assert specs["irm+ppi.ate.treated.wealth"].column == "wealth"
    assert specs["irm+ppi.ate.treated.wealth"].by == ()
    assert specs["irm+lcc.ate.treated.wealth"].by == (("region",),)


def test_predicted_outcomes_are_always_judged():
    assert "correction" in {each.name for each in checks_of(parsed())}
    without = parsed(("effects:", "checks: []\neffects:"))
    assert [each.name for each in checks_of(without)] == ["correction"]


def test_calibration_enters_the_crossfit_key_alone():
    study = parsed()
    features = features_key(study, SPAN, PINS)
    fitted = crossfit_key(study, "rows", "cpu", LABELS)
    newer = {"calibration:wealth": ("id-of-labels", 6)}
    assert crossfit_key(study, "rows", "cpu", newer) != fitted
    for change in (
        ("correct: auto", "correct: lcc"),
        ("truth: wealth", "truth: assets"),
        (", arm: treated", ""),
        (", id: village}", ", id: village, weight: w}"),
    ):
        other = parsed(change)
        assert features_key(other, SPAN, PINS) == features
        assert crossfit_key(other, "rows", "cpu", LABELS) != fitted
    moved = parsed(("{lake}/labels", "{lake}/elsewhere"))
    assert crossfit_key(moved, "rows", "cpu", LABELS) == fitted


def test_the_same_study_on_a_newer_calibration_is_the_same_study():
    tables = {"villages": "a", "calibration:wealth": "b"}
    key = study_key(parsed(), SPAN, tables, "cpu")
    assert study_key(parsed(), SPAN, tables | {"calibration:wealth": "c"}, "cpu") != key
    fixed = parsed(('"{lake}/labels",', '"{lake}/labels", version: 5,'))
    assert study_key(fixed, SPAN, tables, "cpu") != key


def test_a_study_without_predictions_keeps_its_keys():
    """Nothing of predicted outcomes may enter the inputs: the golden digests guard the rest."""
    study = load_study("rain_delays").study
    inputs = crossfit_inputs(study, "rows", "cpu")
    assert "corrections" not in inputs
    assert all({"prediction", "correction"}.isdisjoint(each) for each in inputs["effects"])
    assert set(asdict(effect_specs(study)[0])) - set(inputs["effects"][0]) == {
        "prediction", "correction", "arm", "control", "instrument", "instrument_kind", "propensity",
        "joint",
    }  # fmt: skip
    assert correction_tables(study) == {}


FAULTS = {
    "binary": (("kind: continuous\n    pred", "kind: binary\n    pred"), "which is binary"),
    "column": (("column: wealth_hat", "column: welth_hat"), "no column 'welth_hat'"),
    "covariate": (("[age]", "[age, wealth_hat]"), "leak: the covariate 'wealth_hat'"),
    "treatment": (("column: wealth_hat", "column: treated"), "the treatment 'treated'"),
    "option": (("correct: auto", "correct: lc"), "'lc'"),
    "key": (("truth: wealth", "trut: wealth"), "`trut`"),
    "truth": (("truth: wealth", "truth: hat"), "as prediction and as truth"),
    "placeholder": (("{lake}/labels", "{lak}/labels"), "the placeholder {lak}"),
    "ppi without arm": (
        ("arm: treated, id: village}\n      correct: auto", "id: village}\n      correct: ppi"),
        "`correct: ppi` without labelled rows by arm",
    ),
    "reserved": (("column: wealth_hat", "column: weight"), "the column name 'weight'"),
    "gate on no prediction": (("irm+lcc.*", "irm.ate.treated.rooms"), "which none of its effects"),
    "gate on no effect": (("irm+lcc.*", "irm+lc.*"), "which matches no effect"),
    "training without id": (
        (", id: village}", '}\n      training: {table: "{lake}/t", id: village}'),
        "training rows, but calibration rows without an id",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_are_named(kind, faults):
    (old, new), found = FAULTS[kind]
    assert old in STUDY
    listed = faults(STUDY.replace(old, new))
    mine = [each for each in listed if found in each.found]
    assert mine, [str(each) for each in listed]
    assert mine[0].where.line is not None


def test_a_covariate_computed_from_the_prediction_is_a_leak(faults):
    text = STUDY.replace("rooms FROM", "rooms, 2 * wealth_hat AS twice FROM")
    listed = faults(text.replace("[age]", "[age, twice]"))
    assert any("prediction 'wealth_hat' in other words" in each.found for each in listed)


def test_with_two_treatments_the_arm_is_named_as_its_own(faults):
    two = STUDY.replace(
        "treatments: {treated: binary}", "treatments: {treated: binary, rich: binary}"
    )
    two = two.replace("treated, wealth_hat", "treated, rich, wealth_hat")
    (fault,) = faults(two)
    assert "a joint plr of the predicted outcome" in fault.found
    two = two.replace("{method: plr}", "{method: plr, marginal: true}")
    parsed(text=two)
    listed = faults(two.replace("arm: treated", "arm: treat"))
    assert [each.nearest for each in listed] == ["treated"]


def test_editors_know_the_section():
    validator = Draft202012Validator(study_schema())
    validator.validate(safe_load(STUDY))
    assert not validator.is_valid(safe_load(STUDY.replace("correct: auto", "correct: lc")))
    assert not validator.is_valid(safe_load(STUDY.replace("truth: wealth", "trut: wealth")))
