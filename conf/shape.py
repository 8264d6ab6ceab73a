"""The shape of a study file: pydantic's findings in plain words, each with its line."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from conf.document import Document, Place, describe
from conf.names import listed, nearest
from conf.study import LearnerSpec, Study
from estimators.errors import Fault

_KINDS = {
    "string_type": "text (put it in quotes)",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "greater_than_equal": lambda ctx: f"{ctx['ge']} or more",
    "greater_than": lambda ctx: f"more than {ctx['gt']}",
    "less_than_equal": lambda ctx: f"{ctx['le']} or less",
    "less_than": lambda ctx: f"less than {ctx['lt']}",
    "too_short": lambda ctx: f"at least {ctx['min_length']} of them",
    "string_pattern_mismatch": lambda _: "a small letter, then small letters, digits and _",
}


def build(document: Document) -> tuple[Study | None, list[Fault]]:
    """Build the study's model, or say what is wrong with the file's shape."""
    try:
        text = json.dumps(document.data)
        return Study.model_validate_json(text, strict=True, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, [
            _fault(document, detail)
            for detail in error.errors(include_url=False)
            if not _is_learner(detail["loc"])
        ]


def _is_learner(loc: Place) -> bool:
    """Learners and their parameters are judged by `conf.rules.learners`, from the catalogue."""
    model = _type_at(loc[:-1])
    return (model is LearnerSpec and loc[-1] == "learner") or "parameters" in loc


def _fault(document: Document, detail: ErrorDetails) -> Fault:
    loc, kind, ctx = detail["loc"], detail["type"], detail.get("ctx", {})
    place = _place(document, loc)
    if kind == "extra_forbidden":
        return _unknown_key(document, place, _keys(loc[:-1]))
    if kind == "missing":
        keys = listed(_keys(loc[:-1]))
        allowed = f"the keys {keys}, of which `{loc[-1]}` is needed"
        return document.fault(place, f"`{_dotted(loc)}` is missing", allowed)
    found = f"`{_dotted(loc)}` is {describe(detail['input'])}"
    if kind == "literal_error":
        options = _options(loc)
        given = detail["input"]
        hint = nearest(given, options) if isinstance(given, str) else None
        return document.fault(place, found, listed(options), hint)
    if kind == "too_short":
        found = f"`{_dotted(loc)}` is empty"
    allowed = _KINDS.get(kind) or (_BOUNDS[kind](ctx) if kind in _BOUNDS else detail["msg"])
    return document.fault(place, found, allowed)


def _unknown_key(document: Document, place: Place, keys: list[str]) -> Fault:
    name = str(place[-1])
    choice = f"the keys {', '.join(keys)}" if keys else "no further keys"
    return document.fault(place, f"unknown key `{name}`", choice, nearest(name, keys))


def _dotted(loc: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)[1:]


def _place(document: Document, loc: Place) -> Place:
    """The file's place for a model's location: short forms have fewer steps than the model."""
    place: Place = ()
    for step in loc:
        if (*place, step) in document.lines:
            place = (*place, step)
        elif step == "thresholds" and len(document.mapping(*place)) == 1:
            place = (*place, *document.mapping(*place))
    return place


def _keys(loc: Place) -> list[str]:
    """Keys of the section at `loc`."""
    model = _type_at(loc)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [each.alias or name for name, each in model.model_fields.items()]


def _options(loc: Place) -> list[str]:
    kind = _type_at(loc)
    return [str(option) for option in get_args(kind)] if get_origin(kind) is Literal else []


def _type_at(loc: Place) -> Any:
    """The declared type at `loc` of the study's model; None where the model says nothing."""
    kind: Any = Study
    for step in loc:
        kind = next(_step(kind, step), None)
    return _bare(kind)


def _step(kind: Any, step: str | int) -> Iterator[Any]:
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, each in kind.model_fields.items():
            if step in (name, each.alias):
                yield each.annotation
    elif get_origin(kind) in (dict, list):
        yield get_args(kind)[-1]


def _bare(kind: Any) -> Any:
    """Without `| None`."""
    if get_origin(kind) in (types.UnionType, Union):
        rest = [each for each in get_args(kind) if each is not type(None)]
        return rest[0] if len(rest) == 1 else kind
    return kind
