"""Nuisance quality: whether the nuisances beat a constant, out of fold."""

from __future__ import annotations

import numpy as np

from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, selection, tally
from estimators.units import Units

_TREATMENT = ("m", "r")
"""First letters of the nuisances of treatment and instrument."""


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Squared errors of each nuisance and of the constant, on the rows that it describes."""
    rows: list[Tally] = []
    everyone = selection(units, fitted.rep, fitted.rows)
    control, _ = fitted.arms
    regressands = {
        "m": fitted.assigned, "m0": control.astype(np.float64), "r": fitted.d, "r0": fitted.d,
        "r1": fitted.d,
    }  # fmt: skip
    name = fitted.effect.effect_id
    for nuisance, baseline in fitted.baseline.items():
        chosen = everyone
        if nuisance in ("g0", "g1", "r0", "r1"):
            chosen = everyone.narrow(fitted.arms[int(nuisance[1])][everyone.index])
        truth = regressands.get(nuisance, fitted.y)[chosen.index]
        error = truth - fitted.nuisance[nuisance][chosen.index]
        constant = truth - baseline[chosen.index]
        rows += tally(chosen, error * error, f"loss:{nuisance}", effect_id=name)
        rows += tally(chosen, constant * constant, f"loss_constant:{nuisance}", effect_id=name)
    return rows


def run(tallies: Tallies, effect: EffectSpec) -> list[Finding]:
    """R2 out of fold, 1 - loss / loss of the constant: of the treatment, and of the outcome."""
    name = effect.effect_id
    scores: dict[str, float | None] = {}
    for subject in tallies.subjects("loss:", name):
        nuisance = subject.removeprefix("loss:")
        loss = tallies.find(subject, effect_id=name)
        constant = tallies.find(f"loss_constant:{nuisance}", effect_id=name)
        if loss is not None and constant is not None and constant.x > 0:
            scores[nuisance] = 1.0 - loss.x / constant.x
        else:
            scores[nuisance] = None
    known = {key: value for key, value in scores.items() if value is not None}
    outcome = [value for key, value in known.items() if key[0] not in _TREATMENT]
    treatment = [value for key, value in known.items() if key[0] in _TREATMENT]
    detail = {"r2": scores}
    found = [Finding(name, "outcome_r2", min(outcome, default=None), detail)]
    if effect.propensity is None or treatment:  # a known propensity is not fitted
        found.append(Finding(name, "treatment_r2", min(treatment, default=None), detail))
    return found
