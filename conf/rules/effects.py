"""Effects: the method exists, fits the variables, and is asked for once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from conf.document import Place
from conf.names import listed, nearest
from conf.plan import grouping
from conf.rules.reading import Parts
from estimators.catalog import METHODS, Method
from estimators.errors import Fault


def effect_faults(parts: Parts) -> Iterator[Fault]:
    """Faults of the entries of `effects:`."""
    for index, entry in enumerate(parts.doc.items("effects")):
        if isinstance(entry, dict):
            yield from _entry(parts, ("effects", index), entry)
    yield from _twice(parts)


def _entry(parts: Parts, place: Place, entry: dict[str, Any]) -> Iterator[Fault]:
    doc = parts.doc
    for key, names in (("treatment", parts.treatments), ("outcome", parts.outcomes)):
        name = entry.get(key)
        if isinstance(name, str) and name not in names:
            found = f"the {key} {name!r} of an effect"
            yield doc.fault((*place, key), found, listed(names), nearest(name, names))
    yield from _groupings(parts, place)
    name = entry.get("method")
    if not isinstance(name, str):
        return
    if name not in METHODS:
        at = (*place, "method")
        yield doc.fault(at, f"the method {name!r}", listed(METHODS), nearest(name, METHODS))
        return
    yield from _fit(parts, place, entry, name)
    yield from _instrument(parts, place, entry, name)
    if name == "apo" and entry.get("estimand") == "ate":
        yield from _control(parts, place, entry)
    if name == "plr":
        yield from _joint(parts, place, entry)
    elif entry.get("marginal") is True:
        yield doc.fault((*place, "marginal"), f"`marginal: true` for {name}", "plr only")


def _fit(parts: Parts, place: Place, entry: dict[str, Any], name: str) -> Iterator[Fault]:
    """The estimand, and the kinds of the variables that the effect is about."""
    doc, method = parts.doc, METHODS[name]
    estimand = entry.get("estimand")
    if isinstance(estimand, str) and estimand not in method.estimands:
        found = f"the estimand {estimand!r} of {name}"
        hint = nearest(estimand, method.estimands)
        yield doc.fault((*place, "estimand"), found, listed(method.estimands), hint)
    for key, kinds, takes in _kinds(parts, method):
        for variable, kind in kinds.items():
            asked = entry.get(key) in (None, variable)
            if asked and kind is not None and kind not in takes:
                found = f"{name} with the {kind} {key} {variable!r}"
                other = "apo" if kind == "categorical" else "plr"
                allowed = f"{' or '.join(takes)} {key}s; name one by `{key}:`, or use {other}"
                yield doc.fault(place, found, allowed)


def _kinds(
    parts: Parts, method: Method
) -> tuple[tuple[str, Mapping[str, str | None], tuple[str, ...]], ...]:
    return (
        ("treatment", parts.treatments, method.treatments),
        ("outcome", parts.outcomes, method.outcomes),
    )


def _control(parts: Parts, place: Place, entry: dict[str, Any]) -> Iterator[Fault]:
    for treatment, kind in parts.treatments.items():
        asked = entry.get("treatment") in (None, treatment) and kind == "categorical"
        if asked and parts.doc.text("treatments", treatment, "control") is None:
            found = f"apo.ate of {treatment!r}, which has no control arm"
            allowed = f"`control:` in treatments.{treatment}, or estimand: mean"
            yield parts.doc.fault(place, found, allowed)


def _instrument(parts: Parts, place: Place, entry: dict[str, Any], name: str) -> Iterator[Fault]:
    """Methods with an instrument have one that fits; others have none."""
    doc, takes, given = parts.doc, METHODS[name].instruments, entry.get("instrument")
    at = (*place, "instrument")
    known = parts.instruments
    if not takes:
        if given is not None:
            having = listed(each for each, method in METHODS.items() if method.instruments)
            yield doc.fault(at, f"`instrument:` for {name}", f"{having} only")
        return
    if isinstance(given, str) and given not in known:
        found = f"the instrument {given!r} of an effect"
        yield doc.fault(at, found, listed(known), nearest(given, known))
    elif given is None and len(known) != 1:
        found = f"{name} without an instrument" if not known else f"{name}, and which instrument"
        allowed = f"`instrument:`, one of {listed(known)}" if known else "`instruments:`"
        yield doc.fault(place, found, allowed)
    else:
        chosen = given if isinstance(given, str) else next(iter(known))
        kind = known.get(chosen)
        if kind is not None and kind not in takes:
            found = f"{name} with the {kind} instrument {chosen!r}"
            yield doc.fault(place, found, f"a {' or '.join(takes)} instrument, or use pliv")


def _joint(parts: Parts, place: Place, entry: dict[str, Any]) -> Iterator[Fault]:
    """Several treatments in PLR are one joint fit; the pairwise effect must be asked for."""
    if len(parts.treatments) == 1 or entry.get("marginal") is True:
        return
    if isinstance(entry.get("treatment"), str):
        found = f"plr of one of {len(parts.treatments)} treatments"
        allowed = "no `treatment:` for the joint fit of all, or `marginal: true` for this one alone"
        yield parts.doc.fault(place, found, allowed)
    asked = entry.get("outcome")
    known = [name for name in parts.outcomes if asked in (None, name)]
    predicted = [name for name in known if parts.doc.mapping("outcomes", name, "predicted")]
    if predicted:
        found = f"a joint plr of the predicted outcome {predicted[0]!r}"
        yield parts.doc.fault(place, found, "`marginal: true`, one treatment at a time")


def _groupings(parts: Parts, place: Place) -> Iterator[Fault]:
    seen: set[tuple[str, ...]] = set()
    for text, at in parts.doc.texts(*place, "by"):
        columns = grouping(text)
        if len(set(columns)) < len(columns):
            yield parts.doc.fault(at, f"the grouping {text!r}", "each column once")
        if columns in seen:
            yield parts.doc.fault(at, f"the grouping {text!r} a second time", "once")
        seen.add(columns)


def _twice(parts: Parts) -> Iterator[Fault]:
    seen: dict[str, Place] = {}
    for effect in parts.effects:
        first = seen.setdefault(effect.effect_id, effect.place)
        if first != effect.place:
            line = parts.doc.line(first)
            found = f"the effect {effect.effect_id} a second time"
            allowed = f"once (see line {line}); one entry may have several groupings in `by:`"
            yield parts.doc.fault(effect.place, found, allowed)
