"""Conditional effects: of a binary treatment, on an observed outcome, with learners of rows."""

from __future__ import annotations

from collections.abc import Iterator

from conf.names import listed, nearest
from conf.rules.reading import Parts
from estimators.catalog import LEARNERS, TRAINING
from estimators.errors import Fault


def cate_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of `cate:` beside its learner's."""
    doc = parts.doc
    if not isinstance(doc.at("cate"), dict):
        return
    yield from _variables(parts)
    learners = [text for text, _ in doc.texts("cate", "learners")]
    for index, name in enumerate(learners):
        if name in learners[:index]:
            yield doc.fault(("cate", "learners", index), f"the learner {name!r} again", "once")
    for name in ("search", *TRAINING):
        if name in doc.mapping("cate", "final"):
            place = ("cate", "final", name)
            yield doc.fault(place, f"`{name}` of `final`", "parameters of the learner alone")
    for target in ("outcome", "treatment"):
        given = doc.at("nuisances", target)
        learner = given.get("learner") if isinstance(given, dict) else given
        if isinstance(learner, str) and learner in LEARNERS and LEARNERS[learner].sums:
            found = f"`cate` with the {target} learner {learner!r}, which sees sums alone"
            yield doc.fault(("cate",), found, "a learner that predicts rows, such as spline")


def _variables(parts: Parts) -> Iterator[Fault]:
    doc = parts.doc
    binary = [name for name, kind in parts.treatments.items() if kind == "binary"]
    named = doc.text("cate", "treatment")
    if named is not None and named not in parts.treatments:
        found, hint = f"the treatment {named!r} of `cate`", nearest(named, binary)
        yield doc.fault(("cate", "treatment"), found, listed(binary), hint)
    elif named not in (None, *binary) or not binary:
        found = f"`cate` of the treatment {named!r}" if named else "`cate` of no binary treatment"
        yield doc.fault(("cate",), found, "a binary treatment")
    observed = [
        name for name in parts.outcomes if not doc.mapping("outcomes", name).get("predicted")
    ]
    outcome = doc.text("cate", "outcome")
    if outcome not in (None, *observed) or not observed:
        found = f"the outcome {outcome!r} of `cate`" if outcome else "`cate` of predicted outcomes"
        hint = nearest(outcome, observed) if outcome else None
        yield doc.fault(("cate",), found, f"an observed outcome: {listed(observed)}", hint)
