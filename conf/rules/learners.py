"""Learners and their parameters, against the catalogue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from conf.document import Place, describe
from conf.names import listed, nearest
from conf.rules.named import named_faults
from conf.rules.reading import Parts
from estimators.catalog import LEARNERS, Parameter, is_named
from estimators.errors import Fault

_TYPES = {int: "a whole number", float: "a number", str: "text"}


def learner_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of the study's nuisances and of each effect's own."""
    sections: list[Place] = [("nuisances",)]
    sections += [("effects", i, "nuisances") for i, _ in enumerate(parts.doc.items("effects"))]
    for section in sections:
        for target in ("outcome", "treatment"):
            if target in parts.doc.mapping(*section):
                yield from _learner(parts, (*section, target))


def _learner(parts: Parts, place: Place) -> Iterator[Fault]:
    doc, given = parts.doc, parts.doc.at(*place)
    name = given.get("learner") if isinstance(given, dict) else given
    known = f"{listed(LEARNERS)}, or a path such as sklearn.ensemble.RandomForest"
    if isinstance(given, dict) and "learner" not in given:
        yield doc.fault(place, f"`learner` is missing in `{place[-1]}`", known)
    elif isinstance(given, list) or not isinstance(name, str):
        found = f"the learner of `{place[-1]}` is {describe(name)}"
        yield doc.fault(place, found, f"a learner's name: {known}")
    elif is_named(name):
        yield from named_faults(parts, place, name)
    elif name not in LEARNERS:
        at = (*place, "learner")
        yield doc.fault(at, f"the learner {name!r}", known, nearest(name, LEARNERS))
    elif isinstance(given, dict):
        yield from _parameters(parts, inside(parts, place), name)


def inside(parts: Parts, place: Place) -> Place:
    """Where a learner's parameters stand: flat beside its name, or below `parameters`."""
    given = parts.doc.mapping(*place)
    return (*place, "parameters") if "parameters" in given else place


def _parameters(parts: Parts, place: Place, learner: str) -> Iterator[Fault]:
    known = LEARNERS[learner].parameters
    for name, value in parts.doc.mapping(*place).items():
        at = (*place, name)
        if name == "learner":
            continue
        if name not in known:
            found = f"the parameter `{name}` of {learner}"
            yield parts.doc.fault(at, found, listed(known), nearest(name, known))
        elif not _fits(value, known[name]):
            found = f"`{name}` of {learner} is {describe(value)}"
            yield parts.doc.fault(at, found, _rule(known[name]))


def _fits(value: Any, parameter: Parameter) -> bool:
    if value is None:
        return parameter.default is None
    if parameter.type is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if parameter.type is int and not isinstance(value, int):
        return False
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    return math.isfinite(value) and low <= value <= high


def _rule(parameter: Parameter) -> str:
    low, high = parameter.low, parameter.high
    kind = _TYPES[parameter.type]
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}"
    if low is not None:
        return f"{kind}, {low:g} or more"
    return kind if high is None else f"{kind}, {high:g} or less"
