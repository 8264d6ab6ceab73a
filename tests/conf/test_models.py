"""Arms, instruments and known propensities in a study: what it asks for, and its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.gates import thresholds
from conf.keys import crossfit_inputs, features_inputs
from conf.load import parse_study
from conf.plan import effect_specs, feature_columns
from conf.windows import ALL

BASE = """\
study: shops
sources:
  visits: {table: "{lake}/visits"}
units:
  sql: SELECT visit_id, dose, offer, lottery, took, p_offer, age, region, spend FROM visits
  id: visit_id
treatments:
  dose: {kind: categorical, arms: [none, low, high], control: none}
  took: binary
instruments:
  offer: {kind: binary, propensity: p_offer}
  lottery: continuous
outcomes: {spend: continuous}
covariates: [age]
effects:
  - {method: apo, treatment: dose, by: [region]}
  - {method: apo, treatment: dose, estimand: ate}
  - {method: pliv, treatment: took, instrument: lottery}
  - {method: iivm, treatment: took, instrument: offer}
checks: [overlap]
publish:
  gates:
    "apo.ate.dose=*.spend": {overlap.ess_share: ">= 0.3"}
    "pliv.*": {instrument_strength.first_stage_f: ">= 20"}
"""
PINS = {"visits": ("id", 0)}


def study(text: str = BASE):
    return parse_study(text, Path("shops.yaml"))


def test_effects_are_an_arm_each():
    specs = effect_specs(study())
    assert [each.effect_id for each in specs] == [
        "apo.mean.dose=none.spend",
        "apo.mean.dose=low.spend",
        "apo.mean.dose=high.spend",
        "apo.ate.dose=low.spend",
        "apo.ate.dose=high.spend",
        "pliv.slope.took.spend",
        "iivm.late.took.spend",
    ]
    assert [(each.arm, each.control) for each in specs[:5]] == [
        ("none", None), ("low", None), ("high", None), ("low", "none"), ("high", "none"),
    ]  # fmt: skip
    assert [each.instrument for each in specs[5:]] == ["lottery", "offer"]
    assert [each.instrument_kind for each in specs[5:]] == ["continuous", "binary"]
    assert [each.propensity for each in specs] == [None] * 6 + ["p_offer"]


def test_their_columns_come_last():
    assert feature_columns(study()) == (
        "dose", "took", "spend", "age", "region", "offer", "lottery", "p_offer",
    )  # fmt: skip


def test_an_only_instrument_needs_no_name():
    text = BASE.replace("  lottery: continuous\n", "").replace(", instrument: lottery", "")
    assert effect_specs(study(text))[5].instrument == "offer"


def test_instruments_and_known_propensities_are_judged_unasked():
    assert list(thresholds(study())) == ["overlap", "instrument_strength", "design"]
    fitted = BASE.replace("{kind: binary, propensity: p_offer}", "binary")
    assert "design" not in thresholds(study(fitted))
    named = BASE.replace("[overlap]", "[overlap, {instrument_strength: {first_stage_f: '>= 99'}}]")
    assert thresholds(study(named))["instrument_strength"] == {"first_stage_f": (">=", 99.0)}


@pytest.mark.parametrize(
    ("old", "new", "features", "crossfit"),
    [
        ("arms: [none, low, high]", "arms: [none, low, high, top]", True, True),
        ("control: none", "control: low", False, True),
        ("instrument: lottery", "instrument: offer", False, True),
        ("{kind: binary, propensity: p_offer}", "binary", True, True),
    ],
)
def test_keys(old, new, features, crossfit):
    assert old in BASE
    one, other = study(), study(BASE.replace(old, new))
    built = [features_inputs(each, ALL, PINS) for each in (one, other)]
    fitted = [crossfit_inputs(each, "rows", "cpu") for each in (one, other)]
    assert (built[0] != built[1]) is features
    assert (fitted[0] != fitted[1]) is crossfit


@pytest.mark.parametrize(
    ("old", "new", "found", "allowed"),
    [
        (", arms: [none, low, high], control: none", "", "'dose' with 0 arms", "`arms:`"),
        ("[none, low, high]", "[none]", "'dose' with 1 arms", "two or more"),
        ("[none, low, high]", "[none, low, low.dose]", "the arm 'low.dose'", "letters, digits"),
        ("[none, low, high]", "[none, low, low]", "'low' a second time", "once"),
        ("[none, low, high]", "[none, 1, 2]", "is 1", "text (put it in quotes)"),
        ("control: none", "control: nine", "the control 'nine' of 'dose'", "none, low, high"),
        (", control: none", "", "apo.ate of 'dose', which has no control", "`control:`"),
        ("took: binary", "took: {kind: binary, arms: [a, b]}", "`arms` of the binary", "categor"),
        ("took: binary", "took: {kind: continuous, propensity: age}", "propensity of",
         "binary"),
        ("took: binary", "took: {kind: binary, propensity: offer}", "'offer' as the propensity",
         "probability"),
        ("took: binary", "took: {kind: binary, propensity: p}", "no column 'p'", "p_offer"),
        ("  lottery: continuous", "  spend: continuous",
         "'spend' as an instrument and as an outcome", "one of the two"),
        ("  lottery: continuous", "  lotery: continuous", "no column 'lotery'", "lottery"),
        ("[age]", "[age, offer]", "the covariate 'offer' is an instrument", "one of the two"),
        (", instrument: lottery", "", "pliv, and which instrument", "offer, lottery"),
        ("instrument: lottery", "instrument: lotto", "the instrument 'lotto'", "offer, lottery"),
        ("iivm, treatment: took, instrument: offer", "iivm, treatment: took, instrument: lottery",
         "iivm with the continuous instrument 'lottery'", "a binary instrument"),
        ("estimand: ate}", "estimand: ate, instrument: offer}", "`instrument:` for apo",
         "pliv, iivm only"),
        ("iivm, treatment: took", "iivm, treatment: dose", "iivm with the categorical treatment",
         "binary treatments"),
        ("method: apo, treatment: dose, by", "method: plr, marginal: true, by",
         "plr with the categorical treatment 'dose'", "use apo"),
    ],
)  # fmt: skip
def test_faults(faults, old, new, found, allowed):
    assert old in BASE
    listed = faults(BASE.replace(old, new, 1))
    mine = [each for each in listed if found in each.found]
    assert mine, [str(each) for each in listed]
    assert allowed in mine[0].allowed


def test_no_instruments_at_all(faults):
    start, end = BASE.index("instruments:"), BASE.index("outcomes:")
    text = (BASE[:start] + BASE[end:]).replace(", instrument: lottery", "")
    assert any("pliv without an instrument" in each.found for each in faults(text))
