"""Calibration's share of a corrected effect's uncertainty, in the units of cells.

LCC is closed: theta depends on (m, k) alone, so the calibration enters as a few cells beside the
trial's. Tweedie is drawn: each calibration draw is another correction of the same rows, carried
through the same nuisances, and the spread of its effects is added to the trial's variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.debias.calibration import Calibration
from estimators.debias.linear import LinearCorrection
from estimators.debias.tweedie import TweedieCorrection, fit_tweedie

Doubles = NDArray[np.float64]

DRAWS = 50
"""Draws of a calibration; its variance is then known to about 20 %, its standard error to 10 %."""


@dataclass(frozen=True, slots=True)
class CalibrationCells:
    """Calibration's cells for E effects on one corrected outcome.

    Attributes
    ----------
    cell
        Ids, length C. Equal in every window that is corrected by the same calibration.
    a, b
        ``(C, E)``, to be written with n = 0 and w = 0. Columns sum to zero, so that theta stays;
        ``-(a theta + b) / A`` is a cell's share of an effect's error, where A is the effect's own
        sum of psi_a.
    """

    cell: tuple[str, ...]
    a: Doubles
    b: Doubles

    def covariance(self, theta: Doubles, total_a: Doubles) -> Doubles:
        """Covariance that the calibration adds, ``(E, E)``; no G/(G-1): these are no clusters."""
        share = -(self.a * theta + self.b) / total_a
        return np.asarray(share.T @ share, dtype=np.float64)


def calibration_cells(
    correction: LinearCorrection,
    total_a: Doubles,
    *,
    label: str,
    level: NDArray[np.bool_] | None = None,
    by_row: bool = False,
) -> CalibrationCells:
    """Cells of a linear correction.

    From ``theta = theta_naive / k`` follows ``d theta = -theta dk / k``, and ``- dm / k`` besides
    for a level (an arm's mean), where m does not cancel; so ``a = A dk / k``, ``b = A dm / k``.

    Parameters
    ----------
    total_a
        ``(E,)`` each effect's sum of psi_a over all its cells (of the group, for a group).
    label
        The calibration: table, version and outcome. It begins every cell's id.
    level
        ``(E,)`` bool: the estimand is a mean, not a contrast.
    by_row
        A cell a calibration row (or cluster) instead of two to four. Needed only where two
        outcomes share their calibration rows and their covariance is wanted.

    Notes
    -----
    Few cells say all that the rows say, since (m, k) have two dimensions: the columns of a root
    of their covariance, each as a pair +L/sqrt(2), -L/sqrt(2), so that sums stay zero.
    """
    levels = np.zeros(len(total_a), dtype=np.bool_) if level is None else level
    names: tuple[str, ...]
    if by_row:
        errors = correction.influence
        names = tuple(f"{label}:{row}" for row in range(len(errors)))
    else:
        errors = _pairs(correction.covariance)
        names = tuple(f"{label}:{part}" for part in ("k+", "k-", "m+", "m-"))
        if not levels.any():
            errors, names = errors[:2], names[:2]
    a = np.outer(errors[:, 1], total_a) / correction.slope
    return CalibrationCells(names, a, np.outer(errors[:, 0], levels * total_a) / correction.slope)


def _pairs(covariance: Doubles) -> Doubles:
    """Four errors of (m, k) with the given covariance and zero sum; k is in the first two alone."""
    k = float(np.sqrt(covariance[1, 1]))
    m_with_k = float(covariance[0, 1]) / k if k > 0.0 else 0.0
    m_alone = float(np.sqrt(max(float(covariance[0, 0]) - m_with_k**2, 0.0)))
    root = np.array([[m_with_k, k], [m_alone, 0.0]]) / np.sqrt(2.0)
    return np.stack([root[0], -root[0], root[1], -root[1]])


def linear_se(theta: float, se_trial: float, correction: LinearCorrection) -> float:
    """Standard error of a corrected contrast: trial and calibration, by the delta method."""
    return float(np.hypot(se_trial, theta * correction.slope_se / correction.slope))


def draw_tickets(calibration: Calibration, seed: np.random.SeedSequence, draws: int) -> Doubles:
    """A Bayesian bootstrap's factors on the weights, ``(draws, n)``, one a row or cluster of rows.

    Exponential factors keep every row in every draw, so that a draw's range and bandwidth stay.
    """
    index = calibration.clusters()
    generator = np.random.default_rng(seed)
    tickets = generator.standard_exponential((draws, int(index.max()) + 1))
    return np.asarray(tickets[:, index], dtype=np.float64)


def tweedie_draw(
    calibration: Calibration, fitted: TweedieCorrection, tickets: Doubles
) -> TweedieCorrection:
    """The correction of one draw, ``tickets (n,)``, on the fitted correction's own grid."""
    weight = tickets * calibration.weight
    return fit_tweedie(calibration, density=fitted.density, weight=weight, grid=fitted.grid)


def tweedie_draws(
    calibration: Calibration,
    fitted: TweedieCorrection,
    seed: np.random.SeedSequence,
    draws: int = DRAWS,
) -> tuple[TweedieCorrection, ...]:
    """Corrections of fresh calibration draws: one hidden effect each."""
    tickets = draw_tickets(calibration, seed, draws)
    return tuple(tweedie_draw(calibration, fitted, row) for row in tickets)


def draw_covariance(thetas: Doubles) -> Doubles:
    """Covariance over draws (ddof 1) of ``(draws, E)`` effects, ``(E, E)``.

    Effects of two windows under one calibration are columns of one matrix, so that their shared
    calibration shows.
    """
    return np.atleast_2d(np.cov(thetas, rowvar=False, ddof=1))


def total_se(se_trial: Doubles, calibration: Doubles) -> Doubles:
    """Standard errors from the trial's ``(E,)`` and a calibration covariance ``(E, E)``."""
    return np.asarray(np.sqrt(se_trial**2 + np.diag(calibration)), dtype=np.float64)
