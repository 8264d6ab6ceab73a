"""Correction: whether labelled rows bear out a predicted outcome, as it is or corrected.

The gate of `estimators.debias.gate` runs before any fit; its facts travel with the sums.
"""

from __future__ import annotations

import math

from estimators.checks.result import Finding
from estimators.debias.in_study import facts_key
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Nothing: labelled rows are tallied with the corrections, before any fit."""
    del units, fitted
    return []


def _p_value(gap: float, se: float) -> float:
    return math.erfc(abs(gap) / se / math.sqrt(2.0)) if se > 0.0 else float(gap == 0.0)


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """The gate's figures of the effect's own candidate; its whole table is in the detail.

    Untested (no labelled rows by arm), the figures are None, which no threshold lets pass. PPI
    rests on the labels themselves, so that these must be like the trial (`likeness`).
    """
    facts = tallies.facts.get(facts_key(effect.treatment, effect.outcome))
    if facts is None:
        return []
    name, candidate = effect.effect_id, effect.correction or "none"
    if candidate == "ppi":
        like = tallies.facts.get("likeness", {}).get(name)
        p_value = None if like is None else _p_value(like["gap"], like["se"])
        return [
            Finding(name, "labelled", facts["labelled"], facts),
            Finding(name, "likeness_p", p_value, like or {}),
        ]
    tested = facts["tests"].get(candidate, {})
    found = [
        Finding(name, "wald_p", tested.get("wald_p")),
        Finding(name, "reach", tested.get("reach"), facts),
        Finding(name, "labelled", facts["labelled"]),
    ]
    if candidate != "none":
        found.append(Finding(name, "outside_share", facts["outside_share"].get(candidate)))
    if candidate == "lcc":
        line = facts["line"]
        found.append(Finding(name, "slope", line["slope"]))
        found.append(Finding(name, "slope_ratio", line["slope"] / line["slope_se"]))
    return found
