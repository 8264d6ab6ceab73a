"""Learners named by path: the class is there, serves the targets, and takes the parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from conf.document import Place, describe
from conf.installed import (
    Signature,
    custom_names,
    is_installed,
    learner_names,
    modules,
    signature,
)
from conf.names import listed, nearest
from conf.rules.parameters import fits, rule
from conf.rules.reading import Parts
from conf.rules.search import search_faults
from estimators.catalog import CUSTOM, ENTRY_POINTS, PACKAGES, SET_BY_US, SUFFIXES, TRAINING, Kind
from estimators.errors import Fault


def named_faults(parts: Parts, place: Place, name: str) -> Iterator[Fault]:
    """Faults of a learner named by path, at `place` of ``nuisances``."""
    absent = _absent(parts, place, name)
    if absent is not None:
        yield absent
        return
    found: list[Signature] = []
    if not name.startswith(f"{CUSTOM}."):
        for kind, target in _targets(parts, place).items():
            served = signature(name, kind)
            if served is None:
                yield _no_twin(parts, place, name, kind, target)
                return
            found.append(served)
    yield from _parameters(parts, place, name, found)


def _absent(parts: Parts, place: Place, name: str) -> Fault | None:
    """The package, the module or the class is not there."""
    at, found = (*place, "learner"), f"the learner {name!r}"
    package, module = name.partition(".")[0], name.rpartition(".")[0]
    if package == CUSTOM:
        known = custom_names()
        where = f"the entry points of the group {ENTRY_POINTS}: {listed(known)}"
        return None if name in known else parts.doc.fault(at, found, where, nearest(name, known))
    if not is_installed(package):
        remedy = f"an installed package; `pip install {PACKAGES[package]}` brings it"
        return parts.doc.fault(at, f"{found}, whose package is not installed", remedy)
    offered = learner_names(module)
    if not offered:
        known = modules(package)
        hint = None if module in known else nearest(module, known)
        return parts.doc.fault(at, found, f"a learner of a module of {package}", hint)
    if not {name, *(name.removesuffix(end) for end in SUFFIXES.values())}.isdisjoint(offered):
        return None
    return parts.doc.fault(at, found, listed(offered), nearest(name, offered))


def _targets(parts: Parts, place: Place) -> dict[Kind, str]:
    """A variable of each kind that the learner is asked to predict."""
    variables = {**parts.treatments, **parts.instruments}
    if place[-1] == "outcome":
        variables = dict(parts.outcomes)
    own = parts.doc.text(*place[:-2], str(place[-1])) if place[0] == "effects" else None
    return {
        "continuous" if kind == "continuous" else "binary": name
        for name, kind in variables.items()
        if kind is not None and own in (None, name)
    }


def _no_twin(parts: Parts, place: Place, name: str, kind: Kind, target: str) -> Fault:
    needs = "a classifier with predict_proba" if kind == "binary" else "a regressor"
    found = f"{name} for the {kind} {place[-1]} {target!r}"
    return parts.doc.fault(
        (*place, "learner"), found, f"{needs}: a name with a ...{SUFFIXES[kind]}"
    )


def _parameters(parts: Parts, place: Place, name: str, found: list[Signature]) -> Iterator[Fault]:
    given = parts.doc.mapping(*place)
    at = (*place, "parameters") if "parameters" in given else place
    values = {key: value for key, value in parts.doc.mapping(*at).items() if key != "learner"}
    if "search" in values:
        yield from search_faults(parts, (*at, "search"), name)
    sets: list[tuple[Place, dict[str, Any]]] = [(at, values)]
    for index, one in enumerate(parts.doc.items(*at, "search")):
        if isinstance(one, dict):
            sets.append(((*at, "search", index), one))
    for where, each in sets:
        yield from _values(parts, where, name, each, found)
    for need in dict.fromkeys(need for served in found for need in served.required):
        if need not in values:
            said = f"{name} without its `{need}`"
            yield parts.doc.fault(at, said, "a learner that a study can spell out")


def _values(
    parts: Parts, at: Place, name: str, values: dict[str, Any], found: list[Signature]
) -> Iterator[Fault]:
    for key, value in values.items():
        if key == "search":
            continue
        if key in TRAINING:
            if not fits(value, TRAINING[key]):
                said = f"`{key}` of {name} is {describe(value)}"
                yield parts.doc.fault((*at, key), said, rule(TRAINING[key]))
            continue
        if key in SET_BY_US:
            said = f"`{key}` of {name}"
            yield parts.doc.fault((*at, key), said, "nothing: Causeway sets it")
        elif not _plain(value):
            said = f"`{key}` of {name} is {describe(value)}"
            yield parts.doc.fault((*at, key), said, "a number, a text, true, false or null")
        for served in found:
            if key not in served.parameters and not served.free:
                said, known = f"the parameter `{key}` of {name}", served.parameters
                yield parts.doc.fault((*at, key), said, listed(known), nearest(key, known))
                break


def _plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
