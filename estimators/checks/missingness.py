"""Missingness: is a covariate missing more often in one arm? Then its absence is a consequence."""

from __future__ import annotations

import numpy as np

from estimators.checks.arms import ARMS, facts
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, selection, tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Missing covariates by arm, over all units."""
    if fitted.rep > 0:
        return []
    everyone = selection(units, fitted.rep, np.ones(units.n, dtype=np.bool_))
    missing = np.isnan(units.design.values)
    rows: list[Tally] = []
    for arm, inside in zip(ARMS, fitted.arms, strict=True):
        chosen = everyone.narrow(inside[everyone.index])
        for j, name in enumerate(units.design.names):
            subject = f"missing:{fitted.effect.compared}:{name}"
            rows += tally(chosen, missing[chosen.index, j].astype(np.float64), subject, arm=arm)
    return rows


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """Largest gap between the arms in the missing share of a covariate."""
    prefix = f"missing:{effect.compared}:"
    gaps = []
    for subject in tallies.subjects(prefix):
        arms = [tallies.find(subject, arm=arm) for arm in ARMS]
        shares = [each.x / each.w if each and each.w > 0 else None for each in arms]
        gaps.append({"covariate": subject.removeprefix(prefix), "0": shares[0], "1": shares[1]})
    sizes = [
        abs(row["1"] - row["0"])
        for row in gaps
        if isinstance(row["0"], float) and isinstance(row["1"], float)
    ]
    detail = {"treatment": effect.treatment, "gaps": gaps} | facts(effect)
    return [Finding(None, "max_gap", max(sizes) if sizes else None, detail)]
