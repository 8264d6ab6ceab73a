"""Labelled rows by arm and group, as sums: what the gate is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.debias.calibration import Calibration
from estimators.debias.correction import Correction
from estimators.debias.gate import LEVEL, MARGIN, Gate, StratumMeans, decide
from estimators.debias.linear import LinearCorrection
from estimators.debias.tweedie import TweedieCorrection
from estimators.debias.uncertainty import draw_covariance, draw_tickets, tweedie_draw
from estimators.sums import sum_by

Doubles = NDArray[np.float64]

GATE_DRAWS = 200
"""Draws behind the gate's covariance: more than an effect's, since it is inverted."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled rows in strata.

    Attributes
    ----------
    prediction, truth, weight
        ``(n,)``. Weights are the effect's own (sampling weight times 1/m or 1/(1-m)): then the
        strata's means are what enters the effect.
    stratum
        ``(n,)`` index into `strata`.
    strata
        Names, length G.
    own
        These are the calibration rows themselves, in their order; else they are independent.
    """

    prediction: Doubles
    truth: Doubles
    weight: Doubles
    stratum: NDArray[np.int64]
    strata: tuple[str, ...]
    own: bool

    @property
    def sd(self) -> float:
        """Weighted standard deviation of the truth over all rows."""
        share = self.weight / self.weight.sum()
        return float(np.sqrt(share @ (self.truth - share @ self.truth) ** 2))


@dataclass(frozen=True, slots=True)
class ResidualSums:
    """Sums over labelled rows by stratum of residuals r = candidate - truth; they add up.

    Attributes
    ----------
    n, w, ww, r, rr, wr
        ``(G,)`` rows, and sums of w, w^2, w r, (w r)^2 and w (w r).
    """

    n: NDArray[np.int64]
    w: Doubles
    ww: Doubles
    r: Doubles
    rr: Doubles
    wr: Doubles

    def __add__(self, other: ResidualSums) -> ResidualSums:
        return ResidualSums(
            self.n + other.n, self.w + other.w, self.ww + other.ww,
            self.r + other.r, self.rr + other.rr, self.wr + other.wr,
        )  # fmt: skip

    @property
    def mean(self) -> Doubles:
        """Weighted mean residual, ``(G,)``."""
        return np.asarray(self.r / self.w, dtype=np.float64)

    @property
    def variance(self) -> Doubles:
        """Variance of the weighted mean (HC0), ``(G,)``."""
        mean = self.mean
        spread = self.rr - 2.0 * mean * self.wr + mean**2 * self.ww
        return np.asarray(np.maximum(spread, 0.0) / self.w**2, dtype=np.float64)


def labelled_rows(
    calibration: Calibration, *, weight: Doubles | None = None, own: bool = True
) -> Labelled | None:
    """Strata of labelled rows; None where they do not tell their arm (the gate is untested).

    Parameters
    ----------
    weight
        ``(n,)`` the effect's weights; by default the sampling weights.
    own
        False where `calibration` holds other labelled rows than the correction was fitted on.
    """
    if calibration.arm is None:
        return None
    names = np.array([f"arm={arm}" for arm in calibration.arm.tolist()], dtype=object)
    if calibration.group is not None:
        names = names + np.array(
            [f", group={group}" for group in calibration.group.tolist()], dtype=object
        )
    strata, index = np.unique(names.astype(str), return_inverse=True)
    return Labelled(
        calibration.prediction, calibration.truth,
        calibration.weight if weight is None else weight,
        index.astype(np.int64), tuple(strata.tolist()), own,
    )  # fmt: skip


def residual_sums(labelled: Labelled, corrected: Doubles) -> ResidualSums:
    """Sum a candidate's residuals by stratum."""
    size, index, w = len(labelled.strata), labelled.stratum, labelled.weight
    wr = w * (corrected - labelled.truth)
    n = np.bincount(index, minlength=size).astype(np.int64)
    columns = (w, w * w, wr, wr * wr, w * wr)
    return ResidualSums(n, *(sum_by(index, column, size) for column in columns))


def naive_means(labelled: Labelled) -> StratumMeans:
    """The prediction as it is against the truth."""
    found = residual_sums(labelled, labelled.prediction)
    return StratumMeans(
        "none", labelled.strata, found.n, found.mean, np.diag(found.variance), labelled.sd
    )


def linear_means(
    labelled: Labelled, correction: LinearCorrection, calibration: Calibration
) -> StratumMeans:
    """LCC against the truth; the line's own error enters each stratum by ``-(1, mean) / k``."""
    corrected = correction.apply(labelled.prediction)
    found = residual_sums(labelled, corrected)
    size, index, w = len(labelled.strata), labelled.stratum, labelled.weight
    level = sum_by(index, w * corrected, size) / found.w
    jacobian = -np.stack([np.ones(size), level], axis=1) / correction.slope
    if labelled.own:
        # One row is in the mean and in the line: add its two shares before squaring. Residuals
        # are taken about zero, as the hypothesis says: the rank lost to the fit is then exact.
        cluster = calibration.clusters()
        own = w * (corrected - labelled.truth) / found.w[index]
        shape = len(correction.influence), size
        share = sum_by(cluster * size + index, own, shape[0] * size).reshape(shape)
        share = share + correction.influence @ jacobian.T
        covariance = share.T @ share
    else:
        covariance = np.diag(found.variance) + jacobian @ correction.covariance @ jacobian.T
    return StratumMeans("lcc", labelled.strata, found.n, found.mean, covariance, labelled.sd)


def tweedie_means(
    labelled: Labelled,
    correction: TweedieCorrection,
    calibration: Calibration,
    seed: np.random.SeedSequence,
    draws: int = GATE_DRAWS,
) -> StratumMeans:
    """Tweedie against the truth, with the spread over calibration draws."""
    found = residual_sums(labelled, correction.apply(labelled.prediction))
    size, index, w = len(labelled.strata), labelled.stratum, labelled.weight
    tickets = draw_tickets(calibration, seed, draws)
    means = np.empty((draws, size))
    for row in range(draws):
        drawn = tweedie_draw(calibration, correction, tickets[row]).apply(labelled.prediction)
        weight = w * tickets[row] if labelled.own else w
        total = sum_by(index, weight * (drawn - labelled.truth), size)
        means[row] = total / sum_by(index, weight, size)
    covariance = draw_covariance(means)
    if not labelled.own:
        covariance = covariance + np.diag(found.variance)
    return StratumMeans(
        "tweedie", labelled.strata, found.n, found.mean, covariance, labelled.sd, draws
    )


def run_gate(
    calibration: Calibration,
    corrections: dict[str, Correction],
    seed: np.random.SeedSequence,
    *,
    labelled: Labelled | None = None,
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Gate:
    """Gate of corrections that were fitted on `calibration`, in their order of preference.

    Parameters
    ----------
    labelled
        Labelled rows; by default the calibration rows, where they tell their arm.
    """
    rows = labelled or labelled_rows(calibration)
    if rows is None:
        return decide(None)
    means = []
    for correction in corrections.values():
        if isinstance(correction, LinearCorrection):
            means.append(linear_means(rows, correction, calibration))
        elif isinstance(correction, TweedieCorrection):
            means.append(tweedie_means(rows, correction, calibration, seed))
        else:
            raise NotImplementedError(f"no gate for {correction.name}")
    return decide(naive_means(rows), means, level=level, margin=margin)
