"""Checks, their thresholds, and the gates that stand on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from conf.document import Place, describe
from conf.gates import CONDITION_RULE, matches, parse_condition
from conf.names import listed, nearest
from conf.plan import grouping
from conf.rules.reading import Parts, PlannedEffect
from conf.study import ALL_CHECKS
from estimators.catalog import CHECKS, REVIEW_CHECKS, applies
from estimators.errors import Fault, UsageError

_GATED = CHECKS | REVIEW_CHECKS
_OUTCOMES = {
    "attrition": " whose outcome has `missing: drop`",
    "correction": " whose outcome is `predicted`",
}
_METRICS = [f"{name}.{metric}" for name, check in _GATED.items() for metric in check.metrics]


def _entries(parts: Parts) -> Iterator[tuple[str, Place, dict[str, Any], Place]]:
    """Each check: its name and where that stands, its thresholds and where they stand."""
    for index, entry in enumerate(parts.doc.items("checks")):
        place: Place = ("checks", index)
        if isinstance(entry, str):
            yield entry, place, {}, place
        elif isinstance(entry, dict) and isinstance(entry.get("name"), str):
            at = (*place, "thresholds")
            yield entry["name"], (*place, "name"), parts.doc.mapping(*at), at
        elif isinstance(entry, dict) and len(entry) == 1:
            at = (*place, *entry)
            yield str(at[-1]), at, parts.doc.mapping(*at), at


def check_faults(parts: Parts) -> Iterator[Fault]:
    """Unknown checks, checks named twice, unknown metrics and conditions that are none."""
    seen: set[str] = set()
    for name, place, thresholds, at in _entries(parts):
        if name not in CHECKS:
            hint = nearest(name, CHECKS)
            yield parts.doc.fault(place, f"the check {name!r}", listed(CHECKS), hint)
            continue
        if name in seen:
            yield parts.doc.fault(place, f"the check {name!r} a second time", "once")
        seen.add(name)
        metrics = CHECKS[name].metrics
        for metric, condition in thresholds.items():
            if metric not in metrics:
                found = f"the metric {metric!r} of {name}"
                yield parts.doc.fault(
                    (*at, metric), found, listed(metrics), nearest(metric, metrics)
                )
            yield from _condition(parts, (*at, metric), condition)


def _condition(parts: Parts, place: Place, given: Any) -> Iterator[Fault]:
    if not isinstance(given, str):
        return  # the shape says so
    try:
        parse_condition(given)
    except UsageError:
        yield parts.doc.fault(place, f"the condition {describe(given)}", CONDITION_RULE)


def gate_faults(parts: Parts) -> Iterator[Fault]:
    """Gates that match no effect, or that stand on no check."""
    doc = parts.doc
    given = {name for name, *_ in _entries(parts)} if "checks" in doc.data else set(ALL_CHECKS)
    asked = {nearest(name, CHECKS) or name for name in given}
    asked |= {"correction"} if parts.predicts else set()  # always judged
    asked |= {"instrument_strength"} if parts.instruments else set()
    asked |= {"design"} if _by_design(parts) else set()
    asked |= {"clusters"} if doc.text("units", "cluster") is not None else set()
    for pattern in doc.mapping("publish", "gates"):
        place = ("publish", "gates", pattern)
        matched = [effect for effect in parts.effects if _means(parts, pattern, effect)]
        if parts.all_effects_read and not matched:
            ids = [effect.effect_id for effect in parts.effects]
            found = f"the gate {pattern!r}, which matches no effect"
            yield doc.fault(place, found, listed(ids), nearest(pattern, ids, cutoff=0.1))
        for name in doc.mapping(*place):
            at = (*place, name)
            yield from _gate(parts, at, asked, matched)
            yield from _condition(parts, at, doc.at(*at))


def _by_design(parts: Parts) -> bool:
    """Whether a propensity is known."""
    return any(
        parts.doc.text(section, name, "propensity") is not None
        for section, names in (("treatments", parts.treatments), ("instruments", parts.instruments))
        for name in names
    )


def _means(parts: Parts, pattern: str, effect: PlannedEffect) -> bool:
    """Whether a glob can match the effect; of a grouped glob, group values are not known yet."""
    base, at, group = pattern.partition("@")
    if not at:
        return matches(pattern, effect.effect_id)
    names = ["*".join(grouping(text)) for text, _ in parts.doc.texts(*effect.place, "by")]
    wanted = group.partition("=")[0]
    return matches(base, effect.effect_id) and any(matches(wanted, name) for name in names)


def _gate(
    parts: Parts, place: Place, asked: Collection[str], matched: list[PlannedEffect]
) -> Iterator[Fault]:
    name = str(place[-1])
    check = name.partition(".")[0]
    if name not in _METRICS:
        found = f"the metric {name!r} of a gate"
        yield parts.doc.fault(place, found, listed(_METRICS), nearest(name, _METRICS))
    elif check not in asked and check not in REVIEW_CHECKS:
        found = f"a gate on {name}, but `checks:` does not ask for {check}"
        yield parts.doc.fault(place, found, f"{check} in `checks:`, or a gate on another check")
    elif matched and not any(_applies(check, effect) for effect in matched):
        found = f"a gate on {name}, which none of its effects has"
        yield parts.doc.fault(place, found, _takes(check))


def _applies(check: str, effect: PlannedEffect) -> bool:
    kind = effect.treatment_kind
    predicted = effect.correction is not None
    return kind is None or applies(
        check, effect.method, kind, drops=effect.drops, predicted=predicted, known=True
    )


def _takes(check: str) -> str:
    known = _GATED[check]
    methods = f" of {listed(known.methods)}" if known.methods else ""
    missing = _OUTCOMES.get(check, "")
    return f"{check} on effects{methods} with a {' or '.join(known.treatments)} treatment{missing}"
