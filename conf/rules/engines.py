"""Learners that fit from sums of products: what a study on the Gram engine must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conf.document import Place
from conf.rules.reading import Parts
from conf.study import LearnerSpec
from estimators.catalog import TRAINING, learner_of
from estimators.errors import Fault

_METHODS = ("plr", "irm", "apo")
_LEAST_FOLDS = 3


def engine_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of a study of which a nuisance is fitted from sums."""
    specs = list(_specs(parts))
    first = next(((place, spec) for place, spec in specs if _by_sums(spec)), None)
    if first is None:
        return
    name = first[1]["learner"]
    for place, spec in specs:
        if spec != first[1]:
            found = f"the learner {spec['learner']!r} beside {name!r}"
            if _by_sums(spec):
                found = f"{name!r} with other parameters than at line {parts.doc.line(first[0])}"
            yield parts.doc.fault(
                place, found, f"{name} with equal parameters for every nuisance of the study"
            )
            break
    for setting in ("search", *TRAINING):
        if setting in first[1]:
            place = (*first[0], setting)
            yield parts.doc.fault(place, f"`{setting}` of {name}", "all rows, and `penalty`")
    yield from _method_faults(parts, name)
    for outcome in parts.outcomes:
        if parts.doc.mapping("outcomes", outcome, "predicted"):
            found = f"the predicted outcome {outcome!r} with the learner {name!r}"
            yield parts.doc.fault(("outcomes", outcome), found, "another learner")
    for treatment in parts.treatments:
        if parts.doc.text("treatments", treatment, "propensity") is not None:
            found = f"the known propensity of {treatment!r} with the learner {name!r}"
            yield parts.doc.fault(("treatments", treatment), found, "another learner")
    k = parts.doc.at("folds", "k")
    if isinstance(k, int) and k < _LEAST_FOLDS and "penalty" not in first[1]:
        found = f"{k} folds, which leave none to choose a penalty on"
        yield parts.doc.fault(("folds", "k"), found, f"{_LEAST_FOLDS} or more, or a `penalty:`")


def _method_faults(parts: Parts, name: str) -> Iterator[Fault]:
    for index, _ in enumerate(parts.doc.items("effects")):
        method = parts.doc.text("effects", index, "method")
        if method is not None and method not in _METHODS:
            found = f"the method {method!r} with the learner {name!r}"
            yield parts.doc.fault(("effects", index, "method"), found, ", ".join(_METHODS))


def _by_sums(spec: Mapping[str, Any]) -> bool:
    return learner_of(spec["learner"]).sums


def _specs(parts: Parts) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every effect's two learners as far as they can be read, defaults filled in."""
    for index, _ in enumerate(parts.doc.items("effects")):
        for target in ("outcome", "treatment"):
            own: Place = ("effects", index, "nuisances", target)
            place = own if parts.doc.at(*own) is not None else ("nuisances", target)
            given = parts.doc.at(*place)
            try:
                yield place, LearnerSpec.model_validate(given or "xgboost").resolved()
            except (TypeError, ValueError):  # a fault of another rule
                continue
