"""Treatments and instruments: arms, the control arm, and probabilities known by design."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conf.document import Place
from conf.names import listed, nearest
from conf.rules.reading import Parts
from estimators.errors import Fault

_ARM = re.compile(r"[A-Za-z0-9_+-]{1,64}")
_ARM_RULE = "letters, digits, _, + and -: arms are part of effect ids"
_FEWEST_ARMS = 2


def treatment_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of `treatments` and `instruments` beside their columns."""
    for name, kind in parts.treatments.items():
        place: Place = ("treatments", name)
        if kind == "categorical":
            yield from _arms(parts, place)
        elif kind is not None:
            yield from _no_arms(parts, place, kind)
    for section in ("treatments", "instruments"):
        for name in parts.doc.mapping(section):
            yield from _propensity(parts, (section, name))
    taken = dict.fromkeys(parts.treatments, "treatment")
    taken |= dict.fromkeys(parts.outcomes, "outcome")
    for name in parts.instruments:
        if name in taken:
            found = f"{name!r} as an instrument and as {_article(taken[name])}"
            yield parts.doc.fault(("instruments", name), found, "one of the two")


def _article(role: str) -> str:
    return f"an {role}" if role[0] in "aeio" else f"a {role}"


def _arms(parts: Parts, place: Place) -> Iterator[Fault]:
    doc, name = parts.doc, str(place[-1])
    arms = doc.texts(*place, "arms")
    if len(arms) < _FEWEST_ARMS and len(doc.items(*place, "arms")) == len(arms):
        found = f"the categorical treatment {name!r} with {len(arms)} arms"
        yield doc.fault(place, found, "`arms:`, all its values, two or more")
    seen: dict[str, None] = {}
    for text, at in arms:
        if not _ARM.fullmatch(text):
            yield doc.fault(at, f"the arm {text!r}", _ARM_RULE)
        if text in seen:
            yield doc.fault(at, f"the arm {text!r} a second time", "once")
        seen[text] = None
    control = doc.text(*place, "control")
    if control is not None and control not in seen:
        found = f"the control {control!r} of {name!r}"
        yield doc.fault((*place, "control"), found, listed(seen), nearest(control, seen))


def _no_arms(parts: Parts, place: Place, kind: str) -> Iterator[Fault]:
    for key in ("arms", "control"):
        if key in parts.doc.mapping(*place):
            found = f"`{key}` of the {kind} treatment {place[-1]!r}"
            yield parts.doc.fault((*place, key), found, "`kind: categorical`, or none")


def _propensity(parts: Parts, place: Place) -> Iterator[Fault]:
    """Known probabilities are of something binary, in a column of their own."""
    doc = parts.doc
    column = doc.text(*place, "propensity")
    if column is None:
        return
    kinds = parts.treatments if place[0] == "treatments" else parts.instruments
    kind = kinds.get(str(place[-1]))
    at = (*place, "propensity")
    if kind not in (None, "binary"):
        found = f"the propensity of the {kind} {str(place[0])[:-1]} {place[-1]!r}"
        yield doc.fault(at, found, "kind: binary")
    if column in (*parts.treatments, *parts.instruments, *parts.outcomes):
        found = f"{column!r} as the propensity of {place[-1]!r}"
        yield doc.fault(at, found, "a column with the probability that the design gave")
