"""A study on the Gram engine is on it as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.keys import OWN_LAYOUT, crossfit_inputs, crossfit_key
from conf.load import parse_study
from conf.plan import gram_learner
from tests.conf.conftest import SMALL

GRAM = (
    SMALL.replace("outcome: {learner: xgboost, max_depth: 3}", "outcome: gram")
    .replace("treatment: linear", "treatment: gram")
    .replace("  - method: irm\n    estimand: ate\n    by: [region, region*size]\n", "")
    .replace('    "irm.*": {overlap.ess_share: ">= 0.5"}\n', "")
    .replace('checks: [overlap, {balance: {max_smd: "<= 0.2"}}, attrition]\n', "")
)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("treatment: gram", "treatment: linear", "the learner 'linear' beside 'gram'"),
        ("outcome: gram", "outcome: {learner: gram, segments: 2}", "with other parameters"),
        ("- method: plr", "- method: iivm", "the method 'iivm' with the learner 'gram'"),
        ("outcome: gram", "outcome: {learner: gram, max_train_rows: 5000}", "`max_train_rows`"),
        ("{k: 4}", "{k: 2}", "2 folds, which leave none"),
        (
            "- method: plr",
            "- {method: plr, nuisances: {outcome: xgboost}}",
            "the learner 'xgboost' beside 'gram'",
        ),
    ],
)
def test_what_does_not_go_with_it(old, new, found, edit, faults):
    (fault,) = [each for each in faults(edit((old, new), text=GRAM)) if found in each.found]
    assert fault.where.line is not None


def test_a_predicted_outcome(edit, faults):
    text = edit(
        (
            "spend: {kind: continuous, horizon: 1 day, missing: drop}",
            "spend: {kind: continuous, horizon: 1 day, predicted: {column: age, calibration: "
            '{table: "{lake}/c", prediction: p, truth: t}}}',
        ),
        text=GRAM,
    )
    assert any("predicted outcome 'spend'" in each.found for each in faults(text))


def test_two_folds_and_a_penalty(edit):
    two = "{learner: gram, penalty: 0.1}"
    text = edit(("{k: 4}", "{k: 2}"), ("outcome: gram", f"outcome: {two}"), text=GRAM)
    study = parse_study(text.replace("treatment: gram", f"treatment: {two}"), Path("s.yaml"))
    assert gram_learner(study) == {"learner": "gram", "segments": 4, "penalty": 0.1, "pin": 1}


@pytest.mark.parametrize("estimand", ["ate", "att", "atu", "ato"])
def test_what_needs_every_row_goes_with_it(estimand, edit):
    text = edit(("- method: plr", f"- {{method: irm, estimand: {estimand}}}"), text=GRAM)
    assert gram_learner(parse_study(text, Path("s.yaml"))) is not None


def test_the_layout_enters_the_key_of_such_studies_alone():
    gram, other = (parse_study(text, Path("shops.yaml")) for text in (GRAM, SMALL))
    assert gram_learner(other) is None
    assert "gram" not in crossfit_inputs(other, "rows", "cpu")
    keys = {crossfit_key(gram, "rows", "cpu", None, each) for each in (OWN_LAYOUT, "a", "b")}
    assert len(keys) == 3
    assert crossfit_key(gram, "rows", "cpu") in keys
    assert crossfit_key(other, "rows", "cpu", None, "a") == crossfit_key(other, "rows", "cpu")


def test_the_package_of_the_device_enters_the_key_of_such_studies_alone():
    gram, other = (parse_study(text, Path("shops.yaml")) for text in (GRAM, SMALL))
    cpu, cuda, trees = (
        set(crossfit_inputs(study, "rows", device)["libraries"])
        for study, device in ((gram, "cpu"), (gram, "cuda"), (other, "cuda"))
    )
    assert cuda - cpu == {"jax", "jaxlib"}
    assert trees == cpu
