"""Gates: conditions on checks, and the verdict on each effect."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from conf.plan import effect_specs, propensity_columns
from conf.study import CheckSpec, Study
from estimators.catalog import CHECKS, METHODS, REVIEW_CHECKS, applies
from estimators.effects import EffectSpec
from estimators.errors import UsageError

CONDITION_RULE = "a comparison with a number such as `>= 0.5` (in quotes)"

_CONDITION = re.compile(r"(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", re.ASCII)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One figure of a check, as the record holds it.

    Attributes
    ----------
    effect_id
        The ungrouped effect; None for the whole study.
    op, threshold, passed
        The condition and whether `value` meets it; None for a figure that only informs.
    detail
        JSON for figures and notes.
    """

    effect_id: str | None
    check: str
    metric: str
    value: float | None
    op: str | None
    threshold: float | None
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reviewer may believe of an effect.

    Attributes
    ----------
    verdict
        `rejected` where a gate failed, else `doubtful` where a check failed, else `holds`.
    failed
        Failed checks, each ``check.metric``, sorted.
    gates_failed
        ``check.metric`` of each gate that failed, sorted. A gate has its own condition, so that
        it may fail where the check passed.
    """

    effect_id: str
    verdict: Literal["holds", "doubtful", "rejected"]
    failed: tuple[str, ...]
    gates_failed: tuple[str, ...]


def parse_condition(text: str) -> tuple[str, float]:
    """Read a condition: ``">= 0.5"`` gives ``(">=", 0.5)``.

    Raises
    ------
    UsageError
        The text is no comparison with a number.
    """
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is no condition", code="bad_condition", remedy=f"write {CONDITION_RULE}"
        )
    return match[1], float(match[2])


def passes(value: float | None, op: str, threshold: float) -> bool:
    """Whether a figure meets a condition; a figure that could not be had does not."""
    return value is not None and not math.isnan(value) and _COMPARE[op](value, threshold)


def thresholds(study: Study) -> dict[str, dict[str, tuple[str, float] | None]]:
    """The condition of each metric of the study's checks, ``{check: {metric: condition}}``.

    The study's own threshold, else the catalogue's; None for a metric that only informs.
    """
    resolved: dict[str, dict[str, tuple[str, float] | None]] = {}
    for check in checks_of(study):
        texts = {name: each.threshold for name, each in CHECKS[check.name].metrics.items()}
        texts |= check.thresholds
        resolved[check.name] = {
            metric: parse_condition(text) if text is not None else None
            for metric, text in texts.items()
        }
    return resolved


def checks_of(study: Study) -> list[CheckSpec]:
    """The study's checks, and those that are always judged where there is something to judge."""
    always = {
        "instrument_strength": any(METHODS[each.method].instruments for each in study.effects),
        "design": bool(propensity_columns(study)),
        "clusters": study.units.cluster is not None,
        "correction": any(each.predicted for each in study.outcomes.values()),
    }
    given = {each.name for each in study.checks}
    more = [name for name, needed in always.items() if needed and name not in given]
    return [*study.checks, *(CheckSpec(name=name) for name in more)]


def ungrouped(effect_id: str) -> str:
    """The effect whose checks a grouped effect takes: the id before ``@``."""
    return effect_id.partition("@")[0]


def verdicts(
    study: Study, effect_ids: Sequence[str], checks: Sequence[CheckRow]
) -> dict[str, Verdict]:
    """The verdict on each effect.

    Parameters
    ----------
    study
        The study, for its gates.
    effect_ids
        Grouped and ungrouped effects. A grouped one takes the checks and gates of its ungrouped.
    checks
        Rows of the run; those without an effect count for all. Where a review adds rows of
        `drift`, gates on them are judged; without such rows they are not.
    """
    specs = {spec.effect_id: spec for spec in effect_specs(study)}
    found = {}
    for effect_id in effect_ids:
        base = ungrouped(effect_id)
        rows = [row for row in checks if row.effect_id in (base, None)]
        failed = {f"{row.check}.{row.metric}" for row in rows if row.passed is False}
        gates = _failed_gates(study, effect_id, specs.get(base), rows)
        verdict: Literal["holds", "doubtful", "rejected"]
        verdict = "rejected" if gates else "doubtful" if failed else "holds"
        found[effect_id] = Verdict(effect_id, verdict, tuple(sorted(failed)), tuple(sorted(gates)))
    return found


def _failed_gates(
    study: Study, effect_id: str, spec: EffectSpec | None, rows: Sequence[CheckRow]
) -> set[str]:
    failed = set()
    for pattern, conditions in study.publish.gates.items():
        if not matches(pattern, effect_id):
            continue
        for name, text in conditions.items():
            check, _, metric = name.partition(".")
            values = [row.value for row in rows if (row.check, row.metric) == (check, metric)]
            # A figure that should be there and is not (the effect failed) cannot pass a gate.
            absent = not values and check not in REVIEW_CHECKS
            absent = absent and (spec is None or _expects(check, spec))
            if absent or not all(passes(value, *parse_condition(text)) for value in values):
                failed.add(name)
    return failed


def _expects(check: str, spec: EffectSpec) -> bool:
    return applies(
        check, spec.method, spec.instrument_kind or spec.treatment_kind, drops=spec.drop_missing,
        predicted=spec.correction not in (None, "ppi"),
    )  # fmt: skip


def matches(pattern: str, effect_id: str) -> bool:
    """Whether a gate's glob means an effect: its id, or the id of its ungrouped effect."""
    return fnmatchcase(effect_id, pattern) or fnmatchcase(ungrouped(effect_id), pattern)


def gates_failed(verdicts: dict[str, Verdict]) -> list[str]:
    """Failed gates as ``irm.ate.rain.dep_delay:overlap.ess_share``, sorted.

    A group is listed only where its ungrouped effect is not listed with the same gate.
    """
    failed = []
    for effect_id, verdict in verdicts.items():
        base = verdicts.get(ungrouped(effect_id))
        for name in verdict.gates_failed:
            if base is None or base is verdict or name not in base.gates_failed:
                failed.append(f"{effect_id}:{name}")  # noqa: PERF401 - two loops read better
    return sorted(failed)
