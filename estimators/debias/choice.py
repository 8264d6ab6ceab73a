"""The gate in a study: what labelled rows say of each predicted outcome, and what is withheld.

`auto` alone withholds: of it only the uncorrected effect and the correction that the gate chose
are estimated. A correction that a study insists on is applied, with its gate beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.crossfit import Sums
from estimators.debias.calibration import Calibration
from estimators.debias.correction import count_outside
from estimators.debias.density import log_density
from estimators.debias.gate import Gate, decide
from estimators.debias.in_study import (
    ARMS,
    Corrections,
    Power,
    Predicted,
    arm_difference,
    arms_of,
    facts_key,
    power_of,
    with_corrected,
)
from estimators.debias.labelled import labelled_rows, naive_means, residual_sums, run_gate
from estimators.debias.linear import LinearCorrection
from estimators.debias.tallied import Place, powered_tallies, residual_tallies
from estimators.debias.tweedie import TweedieCorrection
from estimators.effects import EffectSpec
from estimators.errors import ContractError, Where
from estimators.learners import seed_of
from estimators.sums import sum_by
from estimators.tallies import Tally
from estimators.units import Units

Doubles = NDArray[np.float64]
Chosen = tuple[Units, tuple[EffectSpec, ...], Corrections, dict[str, Any]]

_BINS = 20
_CURVE = 80
_DIGITS = 6


def choose(
    units: Units, effects: Sequence[EffectSpec], predicted: Mapping[str, Predicted]
) -> Chosen:
    """Run the gates, and keep the effects that they let pass.

    Returns
    -------
    tuple
        The units with a column a corrected outcome, the effects to estimate, what corrects them,
        and the facts of each gate (JSON values, by `facts_key`).

    Raises
    ------
    ContractError
        ``no_labelled_rows`` where the study insists on PPI without labelled rows of both arms.
    """
    gates, powers, facts = {}, {}, {}
    tallies: list[Tally] = []
    for treatment, outcome, binary in _pairs(effects, predicted):
        mine = predicted[outcome]
        told = binary and mine.treatment == treatment
        gate = _gate(mine, told)
        power = power_of(units, treatment, outcome, mine.calibration) if told else None
        gates[treatment, outcome] = gate
        if power is not None:
            powers[treatment, outcome] = power
        facts[facts_key(treatment, outcome)] = _facts(units, mine, gate, power)
    kept = tuple(each for each in effects if _kept(each, predicted, gates, powers))
    for each in kept:
        if each.correction is not None:
            tallies += _tallies(each, predicted[each.outcome], powers)
    corrections = Corrections(predicted, powers, tallies)
    return with_corrected(units, kept, predicted), kept, corrections, facts


def _pairs(
    effects: Sequence[EffectSpec], predicted: Mapping[str, Predicted]
) -> Iterator[tuple[str, str, bool]]:
    named = (
        (each.treatment, each.outcome, each.treatment_kind == "binary")
        for each in effects
        if each.outcome in predicted
    )
    yield from dict.fromkeys(named)


def _gate(predicted: Predicted, told: bool) -> Gate:
    """The gate; untested where labelled rows do not tell both arms of the treatment."""
    if not told or arms_of(predicted.calibration) is None:
        return decide(None)
    seed = np.random.SeedSequence(seed_of("gate", predicted.label))
    return run_gate(predicted.calibration, dict(predicted.fitted), seed)


def _kept(
    effect: EffectSpec,
    predicted: Mapping[str, Predicted],
    gates: Mapping[tuple[str, str], Gate],
    powers: Mapping[tuple[str, str], Power],
) -> bool:
    if effect.correction in (None, "none"):
        return True
    pair = effect.treatment, effect.outcome
    correct = predicted[effect.outcome].correct
    possible = effect.correction != "ppi" or pair in powers
    if correct == "auto":
        return possible and gates[pair].correction == effect.correction
    if not possible:
        raise ContractError(
            f"`correct: ppi` of {effect.outcome}, but no labelled rows of both arms of "
            f"{effect.treatment}",
            code="no_labelled_rows",
            where=Where(column=effect.outcome),
            remedy="label rows of every arm and name their `arm:`, or choose lcc or tweedie",
        )
    return True


def _facts(units: Units, predicted: Predicted, gate: Gate, power: Power | None) -> dict[str, Any]:
    calibration, fitted = predicted.calibration, predicted.fitted
    lcc, tweedie = fitted.get("lcc"), fitted["tweedie"]
    assert isinstance(tweedie, TweedieCorrection)  # noqa: S101  by name
    line = None
    if isinstance(lcc, LinearCorrection):
        line = {"intercept": lcc.intercept, "slope": lcc.slope, "slope_se": lcc.slope_se}
    arms = arms_of(calibration) if predicted.treatment else None
    return {
        "answer": gate.answer,
        "correction": gate.correction,
        "reason": gate.reason,
        "correct": predicted.correct,
        "refused": dict(predicted.refused),
        "calibration": {"label": predicted.label, "n": calibration.n},
        "labelled": None if arms is None else min(int(each.sum()) for each in arms),
        "tests": {
            test.means.candidate: {
                "wald_p": test.p_value,
                "reach": float(test.reach.max() / test.means.sd),
                "found": test.found,
            }
            for test in gate.tests
        },
        "table": gate.table(),
        "line": line,
        "sigma": tweedie.sigma,
        "outside_share": _outside(units.outcomes[predicted.outcome], fitted),
        "ppi": None
        if power is None
        else {"lam": power.lam, "shift": power.shift, "se": float(np.sqrt(power.variance))},
        "picture": _picture(calibration, tweedie),
    }


def likeness(
    units: Units, effects: Sequence[EffectSpec], sums: Sums, corrections: Corrections
) -> dict[str, dict[str, float]]:
    """Whether labelled rows are like the trial, as far as predictions show it; by effect of PPI.

    Labelled rows have no covariates, so that a confounded choice of treatment among them enters
    PPI's shift. It then enters the difference of their *predictions* too, which the trial knows
    adjusted: the two must agree.

    Returns
    -------
    dict
        ``{"gap": labelled less adjusted difference of predictions, "se": its standard error}``.
    """
    scores = {each.effect_id: each for each in sums.scores}
    found = {}
    for effect in effects:
        plain = replace(effect, correction="none").effect_id
        if effect.correction != "ppi" or plain not in scores:
            continue
        calibration = corrections.predicted[effect.outcome].calibration
        arms = arms_of(calibration)
        assert arms is not None  # noqa: S101  else PPI was refused
        there, spread = arm_difference(calibration, arms, calibration.prediction)
        each = scores[plain]
        total = float(units.weight @ each.psi_a)
        theta = -float(units.weight @ each.psi_b) / total
        phi = units.weight * (each.psi_a * theta + each.psi_b) / total
        if units.cluster is not None and units.clusters is not None:
            phi = sum_by(units.cluster, phi, units.clusters)
        found[effect.effect_id] = {
            "gap": there - theta, "se": float(np.sqrt(spread + phi @ phi))
        }  # fmt: skip
    return found


def _outside(prediction: Doubles, fitted: Mapping[str, Any]) -> dict[str, float]:
    """Share of observed predictions outside the calibrated range, by correction."""
    seen = prediction[~np.isnan(prediction)]
    return {name: count_outside(each, seen) / max(len(seen), 1) for name, each in fitted.items()}


def _picture(calibration: Calibration, tweedie: TweedieCorrection) -> dict[str, Any]:
    """What the figures draw: means by twentieth of the truth, density and correction on a line."""
    order = np.argsort(calibration.truth, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    at = np.linspace(tweedie.low, tweedie.high, _CURVE)
    columns = {
        "truth": np.array([calibration.truth[part].mean() for part in bins]),
        "prediction": np.array([calibration.prediction[part].mean() for part in bins]),
        "spread": np.array([calibration.prediction[part].std() for part in bins]),
        "at": at,
        "density": np.exp(log_density(at, tweedie.kernel)),
        "tweedie": tweedie.apply(at),
    }
    return {
        name: [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]
        for name, values in columns.items()
    }


def _tallies(
    effect: EffectSpec, predicted: Predicted, powers: Mapping[tuple[str, str], Power]
) -> list[Tally]:
    """Labelled rows of an effect as sums: the candidate's residuals, PPI's moments by arm."""
    rows: list[Tally] = []
    told = predicted.treatment == effect.treatment and effect.treatment_kind == "binary"
    labelled = labelled_rows(predicted.calibration) if told else None
    candidate = effect.correction or "none"
    if labelled is not None and candidate != "ppi":
        fitted = predicted.fitted.get(candidate)
        corrected = labelled.prediction if fitted is None else fitted.apply(labelled.prediction)
        places = [_place(effect, name) for name in naive_means(labelled).strata]
        rows += residual_tallies(residual_sums(labelled, corrected), candidate, places)
    power = powers.get((effect.treatment, effect.outcome))
    if power is not None and candidate == "ppi":
        for arm, inside, outside in zip(ARMS, power.labelled, power.unlabelled, strict=True):
            place = Place(0, 0, effect.effect_id, arm)
            rows += powered_tallies(inside, "labelled", place)
            rows += powered_tallies(outside, "unlabelled", place)
    return rows


def _place(effect: EffectSpec, stratum: str) -> Place:
    """A stratum's place: ``arm=1, group=north``."""
    arm, _, group = stratum.removeprefix("arm=").partition(", group=")
    if not group:
        return Place(0, 0, effect.effect_id, arm)
    return Place(0, 0, effect.effect_id, arm, "calibration", group)
