"""Nuisance quality: whether the nuisances beat a constant, out of fold."""

from __future__ import annotations

from estimators.checks.result import Finding
from estimators.effects import EffectSpec
from estimators.tallies import Fitted, Tallies, Tally, selection, tally
from estimators.units import Units


def tallies_of(units: Units, fitted: Fitted) -> list[Tally]:
    """Squared errors of each nuisance and of the constant, on the rows that it describes."""
    rows: list[Tally] = []
    everyone = selection(units, fitted.rep, fitted.rows)
    name = fitted.effect.effect_id
    for nuisance, baseline in fitted.baseline.items():
        chosen = everyone
        if nuisance in ("g0", "g1"):
            chosen = everyone.narrow(fitted.d[everyone.index] == float(nuisance[1]))
        truth = (fitted.d if nuisance == "m" else fitted.y)[chosen.index]
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
        known = loss is not None and constant is not None and constant.x > 0
        scores[nuisance] = 1.0 - loss.x / constant.x if known and loss and constant else None
    outcome = [value for key, value in scores.items() if key != "m" and value is not None]
    detail = {"r2": scores}
    return [
        Finding(name, "outcome_r2", min(outcome) if outcome else None, detail),
        Finding(name, "treatment_r2", scores.get("m"), detail),
    ]
