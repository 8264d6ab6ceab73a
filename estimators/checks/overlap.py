"""Overlap: do both arms occur everywhere? Propensities by arm, effective sample size, clipping."""

from __future__ import annotations

import numpy as np

from estimators.checks.arms import ARMS, by_name, facts, weighting_of
from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, selection, tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Propensities by arm (raw, with a histogram; weighted) and what was clipped."""
    effect, m = fitted.effect, fitted.nuisance["m"]
    everyone = selection(units, fitted.rep, fitted.rows)
    changed = [values != fitted.nuisance[name] for name, values in fitted.used.items()]
    clipped = np.any(changed, axis=0).astype(np.float64)
    rows = tally(everyone, clipped[everyone.index], "clipped", effect_id=effect.effect_id)
    for arm, inside, weight in zip(ARMS, fitted.arms, fitted.weights, strict=True):
        chosen = everyone.narrow(inside[everyone.index])
        x = m[chosen.index]
        name = effect.effect_id
        rows += tally(chosen, x, "propensity", effect_id=name, arm=arm, histogram=True)
        rows += tally(
            chosen.reweight(units.weight * weight), x, "propensity", effect_id=name, arm=arm,
            weighting=weighting_of(effect),
        )  # fmt: skip
    return rows


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """Effective sample share (sum w)^2 / sum w^2 / n, smallest over arms; clipped share."""
    name, weighting = effect.effect_id, weighting_of(effect)
    raw = {arm: tallies.find("propensity", effect_id=name, arm=arm) for arm in ARMS}
    weighted = {
        arm: tallies.find("propensity", effect_id=name, arm=arm, weighting=weighting)
        for arm in ARMS
    }
    clipped = tallies.find("clipped", effect_id=name)
    ess = {arm: _share(raw[arm], weighted[arm]) for arm in ARMS}
    detail = {
        "hist": by_name(effect, {arm: list(row.hist) for arm, row in raw.items() if row}),
        "n": by_name(effect, {arm: row.n for arm, row in raw.items() if row}),
        "ess": by_name(effect, ess),
        "clip": effect.clip,
        "weighting": weighting,
    } | facts(effect)
    share = clipped.x / clipped.w if clipped and clipped.w > 0 else None
    shares = [each for each in ess.values() if each is not None]
    return [
        Finding(name, "clipped_share", share, {"clip": effect.clip}),
        Finding(name, "ess_share", min(shares) if len(shares) == len(ARMS) else None, detail),
    ]


def _share(raw: Tally | None, weighted: Tally | None) -> float | None:
    """Effective sample size over that of the sampling weights alone."""
    if raw is None or weighted is None or raw.w <= 0 or weighted.ww <= 0:
        return None
    return (weighted.w**2 / weighted.ww) / (raw.w**2 / raw.ww)
