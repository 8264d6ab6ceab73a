"""Variation: what is left of the treatment once the covariates are known. Nothing else tells PLR.

A treatment that the covariates predict all but perfectly leaves residuals that are the learner's
own error: the estimate is then about the learner, and its interval does not say so.
"""

from __future__ import annotations

from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Nothing of its own: the losses that nuisance quality tallies tell it."""
    return []


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """The treatment's squared residuals over those of a constant, both out of fold."""
    if effect.propensity is not None:  # a design leaves what it leaves
        return []
    name = effect.effect_id
    loss = tallies.find("loss:m", effect_id=name)
    constant = tallies.find("loss_constant:m", effect_id=name)
    known = loss is not None and constant is not None and constant.x > 0
    share = loss.x / constant.x if known and loss and constant else None
    return [Finding(name, "residual_share", share)]
