"""The JSON schema for editors is generated, current, and agrees with the validator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from conf.schema import SCHEMA_PATH, render, study_schema
from estimators.catalog import CHECKS, LEARNERS, METHODS

STUDIES = sorted((SCHEMA_PATH.parents[1] / "studies").glob("*.yaml"))
BAD = yaml.safe_load(Path(__file__).with_name("bad_studies.yaml").read_text())
SHAPE = {
    "unknown key", "unknown key below", "wrong type", "out of range", "boolean for a number",
    "missing key", "empty section", "empty list", "option", "kind", "study name", "source name",
    "zero lookback", "learner", "learner missing", "parameter name", "parameter type",
    "parameter boolean", "parameter range", "method", "check", "metric", "condition",
    "condition a number", "gate metric", "gate condition",
}  # fmt: skip
"""Kinds of fault that an editor can show by the schema alone."""


@pytest.fixture(scope="module")
def validator():
    Draft202012Validator.check_schema(study_schema())
    return Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))


def test_the_file_is_current():
    assert SCHEMA_PATH.read_text() == render(), "run `python -m conf.schema` and commit the file"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_packages_studies_fit(path, validator):
    validator.validate(yaml.safe_load(path.read_text()))


def test_the_small_study_fits(small, validator):
    validator.validate(yaml.safe_load(small))


@pytest.mark.parametrize(
    "bad", [bad for bad in BAD if bad["kind"] in SHAPE], ids=lambda b: b["kind"]
)
def test_an_editor_shows_faults_of_shape(bad, edit, validator):
    assert not validator.is_valid(yaml.safe_load(edit(bad["edit"])))


def test_every_method_learner_and_check_is_offered():
    parts = study_schema()["$defs"]
    assert parts["Effect"]["properties"]["method"]["enum"] == list(METHODS)
    assert parts["LearnerSpec"]["anyOf"][0]["enum"] == list(LEARNERS)
    assert parts["CheckSpec"]["anyOf"][0]["enum"] == list(CHECKS)
    for section in parts.values():
        assert section.get("description")
