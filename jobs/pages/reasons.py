"""Checks in words: one line a metric with its worst value, and why a verdict is not `holds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from conf.gates import CheckRow, matches, parse_condition
from jobs.pages.evidence import Evidence, detail
from jobs.pages.wording import Row, metric_title, model, number

Status = Literal["pass", "warn", "fail"]
_ORDER: tuple[Status, ...] = ("fail", "warn", "pass")
_NOISE = -0.01
"""R2 out of fold above which a model that is worse than a constant is so by chance."""
_BOUND = {">=": "min", ">": "above", "<=": "max", "<": "below"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's metric over all whole effects.

    Attributes
    ----------
    name
        ``check.metric``.
    worst
        The row with the worst value.
    condition
        What would have passed: the gate's where the gate fails, the check's otherwise.
    """

    name: str
    status: Status
    worst: CheckRow
    condition: tuple[str, float] | None


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """Every metric that is judged, failures first, then warnings; in the catalogue's order."""
    rows: dict[str, list[CheckRow]] = {}
    for check in evidence.checks:
        rows.setdefault(f"{check.check}.{check.metric}", []).append(check)
    whole = [evidence.verdicts[row["effect_id"]] for row in evidence.whole()]
    failed = {name for verdict in whole for name in verdict.failed}
    gated = {name for verdict in whole for name in verdict.gates_failed}
    found = []
    for name, members in rows.items():
        status: Status = "fail" if name in gated else "warn" if name in failed else "pass"
        condition = _condition(evidence, name, members, gate=name in gated)
        if condition is not None:
            found.append(Finding(name, status, _worst(members, condition), condition))
    return tuple(sorted(found, key=lambda each: _ORDER.index(each.status)))


def _condition(
    evidence: Evidence, name: str, members: Sequence[CheckRow], *, gate: bool
) -> tuple[str, float] | None:
    """The bound that decides; None for a metric that is there for information."""
    if gate:
        ids = [row["effect_id"] for row in evidence.whole()]
        for pattern, conditions in evidence.study.publish.gates.items():
            if name in conditions and any(matches(pattern, each) for each in ids):
                return parse_condition(conditions[name])
    judged = [each for each in members if each.op and each.threshold is not None]
    if not judged:
        return None
    return str(judged[0].op), float(judged[0].threshold or 0.0)


def _worst(members: Sequence[CheckRow], condition: tuple[str, float]) -> CheckRow:
    sign = -1 if condition[0].startswith(">") else 1
    known = [each for each in members if each.value is not None]
    return max(known, key=lambda each: sign * float(each.value or 0.0), default=members[0])


def counts(evidence: Evidence) -> tuple[int, int]:
    """How many judged check rows pass, and how many there are."""
    judged = [each.passed for each in evidence.checks if each.passed is not None]
    return sum(judged), len(judged)


def line(finding: Finding) -> str:
    """``overlap.ess_share WARN 0.43 (min 0.5)``."""
    word = finding.status if finding.status == "pass" else f"**{finding.status.upper()}**"
    text = f"{finding.name} {word} {number(finding.worst.value)}"
    if finding.status == "pass" or finding.condition is None:
        return text
    op, bound = finding.condition
    return f"{text} ({_BOUND.get(op, op)} {number(bound)})"


def why(evidence: Evidence, finding: Finding) -> str:
    """One sentence that says what the failure of a check means here."""
    rows = {row["effect_id"]: row for row in evidence.whole()}
    row = rows.get(finding.worst.effect_id or "")
    explain = _WHY.get(finding.name)
    facts = detail(finding.worst)
    text = explain(finding.worst, facts, row) if explain else None
    return text or f"{metric_title(*finding.name.split('.', 1))} is {number(finding.worst.value)}"


def _percent(share: float) -> str:
    return f"{number(100 * share, 2)} %"


def _attrition(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if row is None or "missing" not in facts:
        return None
    shares, treatment = facts["missing"], facts.get("treatment", row["treatment"])
    first, second = facts.get("arms", ["0", "1"])
    return (
        f"{row['outcome']} is missing for {_percent(shares[second])} of {treatment} = {second} and"
        f" {_percent(shares[first])} of {treatment} = {first}: leaving them out selects on an"
        " outcome"
    )


def _missingness(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    gaps = facts.get("gaps")
    if not gaps:
        return None
    worst = max(gaps, key=lambda gap: abs(gap["1"] - gap["0"]))
    treatment = facts.get("treatment", "treatment")
    first, second = facts.get("arms", ["0", "1"])
    return (
        f"{worst['covariate']} is missing for {_percent(worst['1'])} of {treatment} = {second} and"
        f" {_percent(worst['0'])} of {treatment} = {first}: it may be a consequence of {treatment}"
    )


def _ess(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    shares = facts.get("ess")
    if row is None or not shares:
        return None
    arm = min(shares, key=lambda each: float(shares[each]))
    treatment = facts.get("treatment", row["treatment"])
    return (
        f"{model(row)} on {row['outcome']} rests on an effective {_percent(shares[arm])} of the"
        f" units with {treatment} = {arm}: few of them are comparable"
    )


def _clipped(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if row is None or check.value is None:
        return None
    return (
        f"{_percent(check.value)} of the units have a propensity at the bound:"
        f" {facts.get('treatment', row['treatment'])} is all but certain for them"
    )


def _smd(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    entries = [entry for entry in facts.get("smd", []) if entry["weighted"] is not None]
    if row is None or not entries:
        return None
    worst = max(entries, key=lambda entry: abs(entry["weighted"]))
    return (
        f"{worst['covariate']} still differs by {number(abs(worst['weighted']), 2)} standard"
        f" deviations between the arms after weighting ({model(row)} on {row['outcome']})"
    )


def _variation(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if row is None or check.value is None:
        return None
    return (
        f"the covariates explain all but {_percent(check.value)} of {row['treatment']}: leave out"
        " those that the treatment is made of, or that follow from it"
    )


def _strength(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if row is None or "instrument" not in facts:
        return None
    return (
        f"{facts['instrument']} hardly moves {row['treatment']} (first-stage F"
        f" {number(check.value, 2)}): the estimate and its interval can be far off"
    )


def _clusters(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if row is None or "clusters" not in facts:
        return None
    column = str(row.get("se_kind", "")).partition(":")[2] or "the unit"
    return (
        f"of the {facts['clusters']:,} clusters by {column} few carry the estimate (as many as"
        f" {number(check.value, 2)} alike): the standard error can be far too small"
    )


def _design(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
    if "worst" not in facts:
        return None
    treatment, column, worst = facts["treatment"], facts["propensity"], facts["worst"]
    if worst in ("level", "propensity"):
        told = f"{treatment} does not occur as often as {column} says"
    else:
        name = worst.removeprefix("covariate:")
        told = f"{name} tells more of {treatment} than {column} does"
    size = number(abs(facts["z"][worst]), 2)
    return f"{told} (z {size}): it is not the probability of the design, or not for these units"


def _quality(what: str) -> Callable[[CheckRow, Mapping[str, Any], Row | None], str | None]:
    def explain(check: CheckRow, facts: Mapping[str, Any], row: Row | None) -> str | None:
        if row is None or check.value is None:
            return None
        if check.value > _NOISE:
            return (
                f"the covariates do not predict the {what} (out-of-fold R2"
                f" {number(check.value, 2)}, {model(row)} on {row['outcome']}): no"
                " fault where they cannot, and a constant serves as well"
            )
        return (
            f"the model of the {what} predicts worse than a constant out of fold"
            f" (R2 {number(check.value, 2)}, {model(row)} on {row['outcome']}):"
            " take gentler learners"
        )

    return explain


_WHY: dict[str, Callable[[CheckRow, Mapping[str, Any], Row | None], str | None]] = {
    "attrition.gap": _attrition,
    "missingness.max_gap": _missingness,
    "overlap.ess_share": _ess,
    "overlap.clipped_share": _clipped,
    "balance.max_smd": _smd,
    "variation.residual_share": _variation,
    "instrument_strength.first_stage_f": _strength,
    "design.p_value": _design,
    "clusters.effective": _clusters,
    "nuisance_quality.outcome_r2": _quality("outcome"),
    "nuisance_quality.treatment_r2": _quality("treatment"),
}
