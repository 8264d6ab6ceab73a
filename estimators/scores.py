"""Orthogonal scores: each gives elements (psi_a, psi_b), and theta = -sum(psi_b) / sum(psi_a).

Source: Chernozhukov et al. 2018, *Double/debiased machine learning for treatment and structural
parameters*; the ATT is stored without its usual 1/p, which cancels in theta and its standard
error and would make windows impossible to pool.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Score = tuple[Doubles, Doubles]


def plr(y: Doubles, d: Doubles, l: Doubles, m: Doubles) -> Score:  # noqa: E741  the paper's name
    """Partially linear regression, partialling out.

    Parameters
    ----------
    y, d
        Outcome and treatment, ``(n,)``.
    l, m
        Out-of-fold E[Y|X] and E[D|X], ``(n,)``.
    """
    v = d - m
    return -(v * v), (y - l) * v


def irm_ate(y: Doubles, d: Doubles, g0: Doubles, g1: Doubles, m: Doubles) -> Score:
    """Average treatment effect (AIPW); `m` is already clipped."""
    psi_b = g1 - g0 + d * (y - g1) / m - (1.0 - d) * (y - g0) / (1.0 - m)
    return np.full(len(y), -1.0), psi_b


def irm_att(y: Doubles, d: Doubles, g0: Doubles, m: Doubles) -> Score:
    """Average treatment effect on the treated; `m` is already clipped."""
    return -d, d * (y - g0) - m * (1.0 - d) * (y - g0) / (1.0 - m)


def irm_atu(y: Doubles, d: Doubles, g1: Doubles, m: Doubles) -> Score:
    """Average treatment effect on the untreated; `m` is already clipped."""
    return -(1.0 - d), (1.0 - d) * (g1 - y) + d * (1.0 - m) * (y - g1) / m


def irm_ato(y: Doubles, d: Doubles, g0: Doubles, g1: Doubles, m: Doubles) -> Score:
    """Average effect weighted by overlap, m(1-m); nothing is divided by `m`, nothing clipped.

    The weight is estimated by ``(d - m)^2``, which keeps the score orthogonal in `m`. Source: Li,
    Morgan and Zaslavsky 2018, *Balancing covariates via propensity score weighting*.
    """
    weight = (d - m) ** 2
    residual = d * (1.0 - m) * (y - g1) - (1.0 - d) * m * (y - g0)
    return -weight, residual + weight * (g1 - g0)


def score(
    method: str, estimand: str, y: Doubles, d: Doubles, nuisance: Mapping[str, Doubles]
) -> Score:
    """Score elements of an effect from its out-of-fold nuisances, by their names in the paper."""
    match method, estimand:
        case "plr", "slope":
            return plr(y, d, nuisance["l"], nuisance["m"])
        case "irm", "ate":
            return irm_ate(y, d, nuisance["g0"], nuisance["g1"], nuisance["m"])
        case "irm", "att":
            return irm_att(y, d, nuisance["g0"], nuisance["m"])
        case "irm", "atu":
            return irm_atu(y, d, nuisance["g1"], nuisance["m"])
        case "irm", "ato":
            return irm_ato(y, d, nuisance["g0"], nuisance["g1"], nuisance["m"])
    raise NotImplementedError(f"{method}.{estimand} is in the catalogue but has no score")


def arm_weights(estimand: str, d: Doubles, m: Doubles) -> Doubles:
    """Weights that make the arms alike, of the treated and of the controls.

    ATE: 1/m and 1/(1-m). ATT: 1 and m/(1-m). ATU: (1-m)/m and 1. Overlap: 1-m and m.
    """
    match estimand:
        case "att":
            return d + (1.0 - d) * m / (1.0 - m)
        case "atu":
            return d * (1.0 - m) / m + (1.0 - d)
        case "ato":
            return d * (1.0 - m) + (1.0 - d) * m
    return d / m + (1.0 - d) / (1.0 - m)
