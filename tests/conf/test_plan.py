"""A study's effects and feature columns, spelled out."""

from __future__ import annotations

from pathlib import Path

from conf.load import load_study, parse_study
from conf.plan import effect_specs, feature_columns, group_columns


def test_the_demo_asks_for_six_effects_in_file_order():
    specs = effect_specs(load_study("rain_delays").study)
    assert [spec.effect_id for spec in specs] == [
        "plr.slope.rain.dep_delay",
        "plr.slope.rain.cancelled",
        "irm.ate.rain.dep_delay",
        "irm.ate.rain.cancelled",
        "irm.att.rain.dep_delay",
        "irm.att.rain.cancelled",
    ]
    ate = specs[2]
    assert ate.by == (("origin",),)
    assert (ate.treatment_kind, ate.outcome_kind, ate.drop_missing) == (
        "binary",
        "continuous",
        True,
    )
    assert ate.treatment_learner["n_estimators"] == 60
    assert ate.treatment_learner["subsample"] == 1.0


def test_feature_columns_are_the_studys_own_each_once():
    study = load_study("rain_delays").study
    assert feature_columns(study) == (
        "rain", "dep_delay", "cancelled", "hour", "month", "weekday", "carrier", "origin",
        "distance", "temp", "wind_speed", "legs_7d", "late_7d",
    )  # fmt: skip


def test_group_columns_come_last_and_crossings_are_taken_apart(small):
    study = parse_study(small, Path("x"))
    assert group_columns(study) == ("region", "size")
    assert feature_columns(study)[-1] == "size"
    assert effect_specs(study)[1].by == (("region",), ("region", "size"))


def test_an_effects_own_nuisance_replaces_only_that_one(edit):
    own = "method: plr\n    nuisances: {treatment: constant}"
    plr, irm = effect_specs(parse_study(edit(("method: plr", own)), Path("x")))
    assert plr.treatment_learner == {"learner": "constant"}
    assert plr.outcome_learner == irm.outcome_learner
    assert plr.outcome_learner["max_depth"] == 3
    assert irm.treatment_learner == {"learner": "linear", "penalty": 1.0}


def test_an_effect_may_name_its_treatment_and_outcome(edit):
    text = edit(
        ("v.spend\n", "v.spend, v.items\n"),
        ("  spend: {kind", "  items: continuous\n  spend: {kind"),
        ("estimand: ate", "outcome: items"),
    )
    ids = [spec.effect_id for spec in effect_specs(parse_study(text, Path("x")))]
    assert ids == ["plr.slope.coupon.items", "plr.slope.coupon.spend", "irm.ate.coupon.items"]
