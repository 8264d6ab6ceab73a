"""Candidates of a learner: judged like its parameters, in the key as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from conf.keys import crossfit_key
from conf.load import parse_study
from conf.plan import effect_specs
from conf.schema import SCHEMA_PATH
from tests.conf.conftest import SMALL

OURS = "{learner: xgboost, max_depth: 3}"
BAD = {
    "one candidate": ("search: [{max_depth: 3}]", "a list of 1", None),
    "no list": ("search: 3", "`search` of xgboost is 3", None),
    "no mapping": ("search: [1, {}]", "a candidate of xgboost is 1", None),
    "unknown": ("search: [{max_dept: 3}, {}]", "`max_dept` of xgboost", "max_depth"),
    "range": ("search: [{max_depth: 99}, {}]", "`max_depth` of xgboost is 99", None),
    "what all share": ("search: [{max_bin: 16}, {}]", "`max_bin` in the search", None),
    "a search in it": ("search: [{search: []}, {}]", "`search` in the search", None),
    "rows": ("max_train_rows: 3", "`max_train_rows` of xgboost is 3", None),
    "drawn and shared": (
        "num_workers: 2, max_train_rows: 5000",
        "`max_train_rows` of xgboost beside",
        None,
    ),
    "one worker": ("num_workers: 1", "`num_workers` of xgboost is 1", None),
    "patience": ("early_stopping_rounds: 0", "`early_stopping_rounds` of xgboost is 0", None),
}


def _study(more: str) -> str:
    return SMALL.replace(OURS, f"{{learner: xgboost, {more}}}", 1)


def _parsed(more: str):
    return parse_study(_study(more), Path("shops.yaml"))


def test_candidates_have_the_catalogues_types_and_an_order() -> None:
    study = _parsed("search: [{subsample: 1, max_depth: 2}, {}], max_train_rows: 5000")
    spec = effect_specs(study)[0].outcome_learner
    assert spec["search"] == ((("max_depth", 2), ("subsample", 1.0)), ())
    assert type(spec["search"][0][1][1]) is float
    assert spec["max_train_rows"] == 5000
    assert "early_stopping_rounds" not in spec


@pytest.mark.parametrize(
    "more", ["search: [{max_depth: 2}, {}]", "max_train_rows: 5000", "early_stopping_rounds: 10",
             "num_workers: 2"],
)  # fmt: skip
def test_each_enters_the_key_and_fits_the_schema(more: str) -> None:
    plain = parse_study(SMALL.replace(OURS, "{learner: xgboost}", 1), Path("shops.yaml"))
    assert crossfit_key(_parsed(more), "rows", "cpu") != crossfit_key(plain, "rows", "cpu")
    Draft202012Validator(json.loads(SCHEMA_PATH.read_text())).validate(yaml.safe_load(_study(more)))


@pytest.mark.parametrize(("more", "found", "nearest"), BAD.values(), ids=BAD)
def test_each_mistake_is_a_fault(more, found, nearest, faults) -> None:
    mine = [fault for fault in faults(_study(more)) if found in fault.found]
    assert mine
    assert mine[0].nearest == nearest
    schema = Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))
    assert not schema.is_valid(yaml.safe_load(_study(more)))
