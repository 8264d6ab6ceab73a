"""Predicted outcomes of a study: their calibration, the corrections that it gives, PPI's shift.

Everything here is known before any fit: a correction is a function of the prediction alone, so
that a corrected outcome is one more column with nuisances of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.debias.calibration import Calibration
from estimators.debias.correction import Correction
from estimators.debias.linear import fit_linear
from estimators.debias.ppi import Sums, sums
from estimators.debias.tweedie import TweedieCorrection, fit_tweedie
from estimators.debias.uncertainty import tweedie_draws
from estimators.effects import EffectSpec
from estimators.errors import ContractError, Where
from estimators.learners import seed_of
from estimators.scores import Score
from estimators.sums import sum_by
from estimators.tallies import Tally
from estimators.units import Units

Doubles = NDArray[np.float64]
ARMS = ("0", "1")


@dataclass(frozen=True, slots=True)
class Predicted:
    """A predicted outcome and what was fitted on its calibration.

    Attributes
    ----------
    label
        Names the calibration in cells: ``calibration:<outcome>:<table id>@<version>``. Windows
        that are corrected by one calibration so share its cells.
    correct
        As in the study: ``auto``, ``none``, ``lcc``, ``tweedie``, ``ppi``.
    fitted
        Corrections by name.
    draws
        Tweedie's corrections of fresh calibration draws; empty where it is not asked for.
    refused
        Why a correction that nobody insisted on could not be fitted, by name.
    treatment
        The treatment whose arms the labelled rows tell; None where they tell none.
    """

    outcome: str
    label: str
    calibration: Calibration
    correct: str
    fitted: Mapping[str, Correction]
    draws: tuple[TweedieCorrection, ...]
    refused: Mapping[str, str]
    treatment: str | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """PPI for an effect of one treatment on one predicted outcome.

    ``theta = lam theta_naive + shift``: the rectifier ``mean(Y - lam f)`` of the treated less that
    of the controls, over labelled rows.

    Attributes
    ----------
    variance
        Of `shift`, over labelled rows or their clusters.
    labelled, unlabelled
        Sums by arm behind it.
    """

    lam: float
    shift: float
    variance: float
    labelled: tuple[Sums, Sums]
    unlabelled: tuple[Sums, Sums]


@dataclass(frozen=True, slots=True)
class Corrections:
    """All that corrects a study's predicted outcomes.

    Attributes
    ----------
    predicted
        By outcome.
    powers
        By treatment and outcome, where labelled rows tell both arms.
    tallies
        Labelled rows as sums, for the record.
    """

    predicted: Mapping[str, Predicted] = field(default_factory=dict)
    powers: Mapping[tuple[str, str], Power] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)


NOTHING = Corrections()


def fit_predicted(
    outcome: str,
    label: str,
    calibration: Calibration,
    correct: str,
    *,
    treatment: str | None = None,
    where: Where | None = None,
) -> Predicted:
    """Fit the corrections of an outcome: those asked for, and those that its gate compares.

    Parameters
    ----------
    treatment
        The treatment whose arms the labelled rows tell.

    Raises
    ------
    ContractError
        ``weak_calibration`` where the study insists on a correction that cannot be fitted.
    """
    fitted: dict[str, Correction] = {}
    refused: dict[str, str] = {}
    try:
        fitted["lcc"] = fit_linear(calibration, where=where)
    except ContractError as error:
        if correct == "lcc":
            raise
        refused["lcc"] = error.message
    tweedie = fit_tweedie(calibration)
    fitted["tweedie"] = tweedie
    draws: tuple[TweedieCorrection, ...] = ()
    if correct in ("auto", "tweedie"):
        seed = np.random.SeedSequence(seed_of("draws", label))
        draws = tweedie_draws(calibration, tweedie, seed)
    return Predicted(outcome, label, calibration, correct, fitted, draws, refused, treatment)


def with_corrected(
    units: Units, effects: Sequence[EffectSpec], predicted: Mapping[str, Predicted]
) -> Units:
    """The units with a column ``<outcome>+<correction>`` for each corrected effect."""
    outcomes = dict(units.outcomes)
    for each in effects:
        if each.column not in outcomes:
            correction = predicted[each.outcome].fitted[each.correction or ""]
            outcomes[each.column] = correction.apply(units.outcomes[each.outcome])
    return replace(units, outcomes=outcomes)


def arms_of(calibration: Calibration) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Labelled rows of control and treated; None where the rows do not tell both arms."""
    if calibration.arm is None:
        return None
    zero, one = (np.asarray(calibration.arm.astype(str) == arm) for arm in ARMS)
    return (zero, one) if zero.any() and one.any() else None


def power_of(
    units: Units, treatment: str, outcome: str, calibration: Calibration, lam: float | None = None
) -> Power | None:
    """PPI's lambda and shift of a binary treatment; None without labelled rows of both arms.

    Labelled rows have no covariates here, so that nothing but their weights can make an arm's
    rows stand for the population of the effect: they must be a random sample of the arm's
    predictions and truths as the effect weighs them (in a trial, any random sample).

    Parameters
    ----------
    lam
        Fixed; by default the weight that minimises the variance, one for both arms.
    """
    rows = arms_of(calibration)
    if rows is None or any(np.count_nonzero(each) < 2 for each in rows):  # noqa: PLR2004
        return None
    f, d = units.outcomes[outcome], units.treatments[treatment]
    seen = ~np.isnan(f)
    labelled, unlabelled = [], []
    for level, chosen in enumerate(rows):
        inside = seen & (d == level)
        if np.count_nonzero(inside) < 2:  # noqa: PLR2004  a variance needs two
            return None
        labelled.append(
            sums(
                calibration.truth[chosen], calibration.prediction[chosen],
                weight=calibration.weight[chosen],
            )
        )  # fmt: skip
        unlabelled.append(sums(f[inside], weight=units.weight[inside]))
    weight = common_lam(labelled, unlabelled) if lam is None else lam
    residual = calibration.truth - weight * calibration.prediction
    shift, variance = arm_difference(calibration, rows, residual)
    return Power(
        weight, shift, variance, (labelled[0], labelled[1]), (unlabelled[0], unlabelled[1])
    )


def common_lam(labelled: Sequence[Sums], unlabelled: Sequence[Sums]) -> float:
    """One PPI++ weight for all arms: numerators and denominators of `best_lam` are added.

    An arm's share is ``Cov(Y, f) / n`` over ``(1/n + 1/N) Var(f)``, Var(f) pooled over labelled
    and unlabelled rows.
    """
    top = bottom = 0.0
    for inside, outside in zip(labelled, unlabelled, strict=True):
        n, m = inside.n, outside.n
        covariance = inside.covariance()
        apart = float(inside.means[1] - outside.means[0])
        squares = (
            n * float(covariance[1, 1]) + m * float(outside.covariance()[0, 0])
            + n * m / (n + m) * apart**2
        )  # fmt: skip
        top += float(covariance[0, 1]) / n
        bottom += (1.0 / n + 1.0 / m) * squares / (n + m - 1)
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom > 0.0 else 0.0


def arm_difference(
    calibration: Calibration, rows: tuple[NDArray[np.bool_], NDArray[np.bool_]], values: Doubles
) -> tuple[float, float]:
    """Treated less control in labelled rows' weighted means, and its variance by cluster (HC0)."""
    shift, share = 0.0, np.zeros(calibration.n)
    for sign, chosen in zip((-1.0, 1.0), rows, strict=True):
        weight = np.where(chosen, calibration.weight, 0.0)
        weight = weight / weight.sum()
        mean = float(weight @ values)
        shift += sign * mean
        share += sign * weight * (values - mean)
    cluster = calibration.clusters()
    by_cluster = sum_by(cluster, share, int(cluster.max()) + 1)
    return shift, float(by_cluster @ by_cluster)


def powered_scores(effect: EffectSpec, parts: Score, corrections: Corrections) -> Score:
    """PPI's scores of an effect: ``psi_b' = lam psi_b - psi_a shift``; others pass as they are."""
    if effect.correction != "ppi":
        return parts
    power = corrections.powers[effect.treatment, effect.outcome]
    psi_a, psi_b = parts
    return psi_a, power.lam * psi_b - psi_a * power.shift


def facts_key(treatment: str, outcome: str) -> str:
    """Under which the gate's facts of a treatment and outcome are kept."""
    return f"correction:{treatment}:{outcome}"


Facts = Mapping[str, Any]
