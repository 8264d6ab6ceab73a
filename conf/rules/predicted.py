"""Predicted outcomes: the prediction's column, the calibration, and what may be corrected how."""

from __future__ import annotations

from collections.abc import Iterator

from conf.document import Place
from conf.names import listed, nearest
from conf.rules.reading import Parts
from estimators.catalog import POWERED
from estimators.errors import Fault


def predicted_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of each outcome's `predicted`."""
    for name in parts.outcomes:
        place: Place = ("outcomes", name, "predicted")
        if parts.doc.mapping(*place):
            yield from _outcome(parts, name, place)


def _outcome(parts: Parts, name: str, place: Place) -> Iterator[Fault]:
    doc = parts.doc
    if parts.outcomes[name] == "binary":
        found = f"the predicted outcome {name!r}, which is binary"
        yield doc.fault(place, found, "kind: continuous; a share is corrected as a number")
    column, correct = doc.text(*place, "column"), doc.text(*place, "correct")
    if column is not None and column in parts.treatments:
        found = f"the treatment {column!r} as the prediction of {name!r}"
        yield doc.fault((*place, "column"), found, "the predictor's column")
    yield from _arm(parts, (*place, "calibration"))
    if correct == "ppi":
        yield from _powered(parts, name, place)
    if doc.mapping(*place, "training") and "id" not in doc.mapping(*place, "calibration"):
        found = "training rows, but calibration rows without an id to compare them with"
        yield doc.fault((*place, "training"), found, "`id:` in calibration")
    if doc.text(*place, "calibration", "prediction") is not None:
        truth = doc.text(*place, "calibration", "truth")
        if truth == doc.text(*place, "calibration", "prediction"):
            found = f"{truth!r} as prediction and as truth"
            yield doc.fault((*place, "calibration", "truth"), found, "the column of the truth")


def _arm(parts: Parts, place: Place) -> Iterator[Fault]:
    """With several treatments, the arm's column says by its name whose arm it is."""
    arm = parts.doc.text(*place, "arm")
    if arm is not None and len(parts.treatments) > 1 and arm not in parts.treatments:
        found = f"the arm {arm!r}, in a study of {len(parts.treatments)} treatments"
        hint = nearest(arm, parts.treatments)
        allowed = f"a column named as its treatment: {listed(parts.treatments)}"
        yield parts.doc.fault((*place, "arm"), found, allowed, hint)


def _powered(parts: Parts, name: str, place: Place) -> Iterator[Fault]:
    """PPI takes labelled rows of both arms, and effects that compare arms."""
    doc, at = parts.doc, (*place, "correct")
    if "arm" not in doc.mapping(*place, "calibration"):
        found = "`correct: ppi` without labelled rows by arm"
        yield doc.fault(at, found, "`arm:` in calibration, or lcc or tweedie")
    mine = [each for each in parts.effects if each.effect_id.endswith(f".{name}")]
    if mine and not any(each.method in POWERED for each in mine):
        found = f"`correct: ppi` of {name!r}, which no effect of method {listed(POWERED)} is on"
        yield doc.fault(at, found, f"an effect of method {listed(POWERED)}, or lcc or tweedie")
