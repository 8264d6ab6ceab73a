"""Attrition: is the outcome missing equally often in both arms? Dropping it selects on it."""

from __future__ import annotations

import numpy as np

from estimators.checks.arms import ARMS, by_name, facts
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, selection, tally
from estimators.units import Units


def _subject(effect: EffectSpec) -> str:
    return f"attrition:{effect.compared}:{effect.outcome}"


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Missing outcomes by arm, over all units, observed or not."""
    if fitted.rep > 0:
        return []
    missing = np.isnan(units.outcomes[fitted.effect.outcome]).astype(np.float64)
    everyone = selection(units, fitted.rep, np.ones(units.n, dtype=np.bool_))
    rows: list[Tally] = []
    for arm, inside in zip(ARMS, fitted.arms, strict=True):
        chosen = everyone.narrow(inside[everyone.index])
        rows += tally(chosen, missing[chosen.index], _subject(fitted.effect), arm=arm)
    return rows


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """Gap between the arms in the missing share, and the share in all."""
    control, treated = (tallies.find(_subject(effect), arm=arm) for arm in ARMS)
    if control is None or treated is None or control.w <= 0 or treated.w <= 0:
        return [Finding(effect.effect_id, metric, None) for metric in ("gap", "share")]
    shares = {arm: each.x / each.w for arm, each in zip(ARMS, (control, treated), strict=True)}
    counts = {"0": control.n, "1": treated.n}
    detail = {"missing": by_name(effect, shares), "n": by_name(effect, counts)} | facts(effect)
    everyone = (control.x + treated.x) / (control.w + treated.w)
    return [
        Finding(effect.effect_id, "gap", abs(shares["1"] - shares["0"]), detail),
        Finding(effect.effect_id, "share", everyone, {}),
    ]
