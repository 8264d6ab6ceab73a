"""Learners and their parameters, against the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conf.document import Place, describe
from conf.names import listed, nearest
from conf.rules.named import named_faults
from conf.rules.parameters import fits, rule
from conf.rules.reading import Parts
from conf.rules.search import search_faults
from estimators.catalog import CHOSEN_INSIDE, LEARNERS, TRAINING, Parameter, is_named
from estimators.errors import Fault


def learner_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of the study's nuisances, of each effect's own, and of second stages."""
    sections: list[Place] = [("nuisances",)]
    sections += [("effects", i, "nuisances") for i, _ in enumerate(parts.doc.items("effects"))]
    for section in sections:
        for target in ("outcome", "treatment"):
            if target in parts.doc.mapping(*section):
                yield from _learner(parts, (*section, target))
    if "final" in parts.doc.mapping("cate"):
        yield from _learner(parts, ("cate", "final"))


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
        inner = (*place, "parameters") if "parameters" in given else place
        yield from _parameters(parts, inner, name)
        yield from _shared(parts, inner, name)


def _shared(parts: Parts, place: Place, learner: str) -> Iterator[Fault]:
    """Faults of a fit that several workers share: nothing is drawn or chosen among their rows."""
    doc, given = parts.doc, parts.doc.mapping(*place)
    if "num_workers" not in given:
        return
    if place[-1] == "final":
        found = f"`num_workers` of {learner} for `final`, which is fitted in one process"
        yield doc.fault((*place, "num_workers"), found, "no `num_workers` there")
    for name in sorted(CHOSEN_INSIDE & given.keys()):
        found = f"`{name}` of {learner} beside `num_workers`"
        yield doc.fault((*place, name), found, "one of the two")


def _parameters(parts: Parts, place: Place, learner: str) -> Iterator[Fault]:
    known = {**LEARNERS[learner].parameters, **TRAINING}
    for name, value in parts.doc.mapping(*place).items():
        if name == "search":
            yield from search_faults(parts, (*place, name), learner)
            for index, one in enumerate(parts.doc.items(*place, name)):
                if isinstance(one, dict):
                    yield from _values(parts, (*place, name, index), learner, one, known)
        elif name != "learner":
            yield from _values(parts, place, learner, {name: value}, known)


def _values(
    parts: Parts, place: Place, learner: str, given: Mapping[str, Any],
    known: Mapping[str, Parameter],
) -> Iterator[Fault]:  # fmt: skip
    for name, value in given.items():
        if name not in known:
            found = f"the parameter `{name}` of {learner}"
            names = [*known, "search"]
            yield parts.doc.fault((*place, name), found, listed(names), nearest(name, names))
        elif not fits(value, known[name]):
            found = f"`{name}` of {learner} is {describe(value)}"
            yield parts.doc.fault((*place, name), found, rule(known[name]))
