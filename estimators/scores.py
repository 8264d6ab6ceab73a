"""Orthogonal scores: each gives elements (psi_a, psi_b), and theta = -sum(psi_b) / sum(psi_a).

Source: Chernozhukov et al. 2018, *Double/debiased machine learning for treatment and structural
parameters*; the ATT is stored without its usual 1/p, which cancels in theta and its standard
error and would make windows impossible to pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Score = tuple[Doubles, Doubles]


class Model(Protocol):
    """What a score depends on."""

    @property
    def method(self) -> str:
        """A method of the catalogue."""
        ...

    @property
    def estimand(self) -> str:
        """One of its estimands."""
        ...


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


def apo(y: Doubles, d: Doubles, g: Doubles, m: Doubles) -> Score:
    """Average potential outcome of the arm that `d` marks; `m` is already clipped.

    Source: Cattaneo 2010, *Efficient semiparametric estimation of multi-valued treatment effects*.
    """
    return np.full(len(y), -1.0), g + d * (y - g) / m


def pliv(y: Doubles, d: Doubles, z: Doubles, *, l: Doubles, m: Doubles, r: Doubles) -> Score:  # noqa: E741  the paper's name
    """Partially linear regression with one instrument, partialling out.

    Parameters
    ----------
    z
        The instrument, ``(n,)``.
    l, m, r
        Out-of-fold E[Y|X], E[Z|X] and E[D|X], ``(n,)``.
    """
    v = z - m
    return -((d - r) * v), (y - l) * v


def iivm(
    y: Doubles,
    d: Doubles,
    z: Doubles,
    *,
    g: tuple[Doubles, Doubles],
    r: tuple[Doubles, Doubles],
    m: Doubles,
) -> Score:
    """Effect on those whom the binary instrument moves (LATE): AIPW of Y over AIPW of D.

    Parameters
    ----------
    g, r
        Out-of-fold E[Y|Z=0,X] and E[Y|Z=1,X], and the same of D.
    m
        P(Z=1|X), already clipped.
    """
    return -irm_ate(d, z, *r, m)[1], irm_ate(y, z, *g, m)[1]


def score(
    effect: Model,
    y: Doubles,
    d: Doubles,
    nuisance: Mapping[str, Doubles],
    z: Doubles | None = None,
) -> Score:
    """Score elements of an effect from its out-of-fold nuisances, by their names in the paper.

    Parameters
    ----------
    y, d
        Outcome and exposure (the treatment, or an arm's indicator), ``(n,)``.
    nuisance
        Propensities among them are already clipped.
    z
        The instrument; of a contrast of arms, the control arm's indicator.
    """
    method, of = effect.method, nuisance
    if z is None:
        return _score(method, effect.estimand, y, d, of)
    if method == "pliv":
        return pliv(y, d, z, l=of["l"], m=of["m"], r=of["r"])
    if method == "iivm":
        return iivm(y, d, z, g=(of["g0"], of["g1"]), r=(of["r0"], of["r1"]), m=of["m"])
    (psi_a, arm), (_, control) = apo(y, d, of["g1"], of["m"]), apo(y, z, of["g0"], of["m0"])
    return psi_a, arm - control


def _score(
    method: str, estimand: str, y: Doubles, d: Doubles, nuisance: Mapping[str, Doubles]
) -> Score:
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
        case "apo", "mean":
            return apo(y, d, nuisance["g1"], nuisance["m"])
    raise NotImplementedError(f"{method}.{estimand} is in the catalogue but has no score")


def arm_weights(
    estimand: str, m: Doubles, m0: Doubles | None = None
) -> tuple[Doubles | float, Doubles | float]:
    """Weights that make the two arms of an effect alike: of the first arm, and of the second.

    ATE: 1/(1-m) and 1/m, of a contrast of arms 1/m0 and 1/m. ATT: m/(1-m) and 1. ATU: 1 and
    (1-m)/m. Overlap: m and 1-m. An arm's mean: 1 of everyone, and 1/m.
    """
    match estimand:
        case "att":
            return m / (1.0 - m), 1.0
        case "atu":
            return 1.0, (1.0 - m) / m
        case "ato":
            return m, 1.0 - m
        case "mean":
            return 1.0, 1.0 / m
    return 1.0 / (1.0 - m if m0 is None else m0), 1.0 / m
