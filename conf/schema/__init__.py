"""The study's JSON schema for editors, generated from the models and the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conf.gates import CONDITION_RULE
from conf.names import IDENTIFIER
from conf.study import Study
from estimators.catalog import (
    CHECKS,
    CHOSEN_INSIDE,
    CUSTOM,
    LEARNERS,
    METHODS,
    MOST_CANDIDATES,
    NAMED,
    PACKAGES,
    REVIEW_CHECKS,
    SHAPES_MATRIX,
    TRAINING,
    Learner,
    Parameter,
)

SCHEMA_PATH = Path(__file__).parent / "study.schema.json"

_TYPES = {int: "integer", float: "number", str: "string"}
_CONDITION = {"type": "string", "pattern": r"^\s*(<=|>=|<|>)", "description": CONDITION_RULE}


def study_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a study file, short forms included."""
    schema = Study.model_json_schema(by_alias=True)
    parts = schema["$defs"]
    parts["Outcome"]["properties"]["horizon"]["type"] = ["string", "integer"]  # 0 needs no quotes
    for name in ("Treatment", "Instrument", "Outcome"):
        parts[name] = _or_kind(parts[name])
    parts["LearnerSpec"] = _learners()
    parts["CheckSpec"] = _checks()
    effect = parts["Effect"]["properties"]
    effect["method"] = _named("The effect model.", {n: each.title for n, each in METHODS.items()})
    estimands = sorted({name for method in METHODS.values() for name in method.estimands})
    effect["estimand"] = effect["estimand"] | {"anyOf": [{"enum": estimands}, {"type": "null"}]}
    gates = parts["Publish"]["properties"]["gates"]
    gated = (CHECKS | REVIEW_CHECKS).items()
    gates["additionalProperties"] = _metrics(
        {f"{name}.{each}": m.title for name, c in gated for each, m in c.metrics.items()}
    )
    for section in ("sources", "history", "treatments", "instruments", "outcomes"):
        schema["properties"][section]["propertyNames"] = {"pattern": f"^{IDENTIFIER.pattern}$"}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A Causeway study"
    _drop_defaults_of_objects(schema)
    return schema


def render() -> str:
    """The schema file's text."""
    return json.dumps(study_schema(), indent=2, sort_keys=True) + "\n"


def _or_kind(section: dict[str, Any]) -> dict[str, Any]:
    kind = section["properties"]["kind"]
    short = kind | {"description": "Short for `{kind: ...}`."}
    return {"description": section["description"], "anyOf": [short, section]}


def _named(description: str, names: dict[str, str]) -> dict[str, Any]:
    """A choice whose options an editor explains."""
    return {
        "description": description,
        "type": "string",
        "enum": list(names),
        "markdownEnumDescriptions": list(names.values()),  # YAML language servers show these
    }


def _learners() -> dict[str, Any]:
    names = _named("A learner with its defaults.", {n: each.title for n, each in LEARNERS.items()})
    heads = "|".join([*PACKAGES, CUSTOM])
    path = {
        "description": NAMED.title,
        "type": "string",
        "pattern": rf"^({heads})\.",
        "examples": ["sklearn.ensemble.RandomForest", "lightgbm.LGBM"],
    }
    return {
        "description": "A learner's name, or a mapping with its parameters.",
        "anyOf": [
            names,
            *(_learner(name, each) for name, each in LEARNERS.items()),
            path,
            _by_path(path),
        ],
    }


def _by_path(path: dict[str, Any]) -> dict[str, Any]:
    """A learner of another package: its parameters are its class's."""
    scalar = {"type": ["number", "string", "boolean", "null"]}
    return {
        "type": "object",
        "title": "by path",
        "properties": {
            "learner": path,
            **{key: _parameter(each) for key, each in TRAINING.items()},
            "search": _search({"additionalProperties": scalar}),
        },
        "required": ["learner"],
        "additionalProperties": scalar,
    }


def _learner(name: str, learner: Learner) -> dict[str, Any]:
    known = {key: _parameter(each) for key, each in learner.parameters.items()}
    training = {key: _parameter(each) for key, each in TRAINING.items()}
    chosen = {
        key: each for key, each in known.items() if key not in (*CHOSEN_INSIDE, *SHAPES_MATRIX)
    }
    properties = {**known, **training, "search": _search({"properties": chosen})}
    form: dict[str, Any] = {
        "type": "object",
        "title": name,
        "description": learner.title,
        "properties": {"learner": {"const": name}, **properties},
        "required": ["learner"],
        "additionalProperties": False,
    }
    if "num_workers" in known:  # nothing is drawn or chosen among rows that workers share
        alone = {"properties": dict.fromkeys(sorted(CHOSEN_INSIDE), False)}
        form["dependentSchemas"] = {"num_workers": alone}
    return form


def _search(candidate: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": "Sets of parameters to choose from inside the training fold.",
        "type": "array",
        "items": {"type": "object", "additionalProperties": False, **candidate},
        "minItems": 2,
        "maxItems": MOST_CANDIDATES,
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    kind = _TYPES[parameter.type]
    schema: dict[str, Any] = {"type": kind, "default": parameter.default}
    if parameter.default is None:
        schema["type"] = [kind, "null"]
    if parameter.low is not None:
        schema["minimum"] = parameter.low
    if parameter.high is not None:
        schema["maximum"] = parameter.high
    return schema


def _checks() -> dict[str, Any]:
    names = _named("A check.", {name: each.title for name, each in CHECKS.items()})
    metrics = {
        name: _metrics({key: metric.title for key, metric in each.metrics.items()})
        for name, each in CHECKS.items()
    }
    thresholds = {
        "type": "object",
        "description": "Thresholds of the study's own: `{overlap: {ess_share: '>= 0.4'}}`.",
        "properties": metrics,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    long = {
        "type": "object",
        "properties": {"name": names, "thresholds": {"type": "object"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    said = "A check's name, or its name and thresholds of the study's own."
    return {"description": said, "anyOf": [names, thresholds, long]}


def _metrics(titles: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _CONDITION | {"title": title} for name, title in titles.items()},
        "additionalProperties": False,
    }


def _drop_defaults_of_objects(node: Any) -> None:
    """Remove defaults of whole sections: noise in an editor."""
    if isinstance(node, dict):
        if isinstance(node.get("default"), dict | list):
            del node["default"]
        for value in node.values():
            _drop_defaults_of_objects(value)
    elif isinstance(node, list):
        for value in node:
            _drop_defaults_of_objects(value)
