"""Worlds of the coverage grid: units with known effects, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from estimators.learners import Design
from estimators.units import Units
from tests.estimators.samples import expit, from_arrays

Doubles = NDArray[np.float64]

THETA = 0.5
SLOPE = 0.4
"""The effect on ``h`` of a unit is THETA + SLOPE x_0; that on ``y`` is THETA for all."""
INDEX = np.array([0.5, 0.4, -0.3])
"""Logit of the propensity on the first covariates."""
P = 10
CLUSTER = 5
"""Units a cluster; half of the variance of treatment draws and of the noise is the cluster's."""


@dataclass(frozen=True, slots=True)
class World:
    """A design.

    Attributes
    ----------
    interacted
        Covariates are signs, and two of them interact in outcome and propensity: a world for
        trees. (Steps in a normal covariate would not do: where a split is off, both nuisances
        are off on the same units, and that bias is a third of the spread at n = 2,000.)
    heteroskedastic
        The noise grows with a covariate.
    clustered
        Treatment and noise are correlated within clusters.
    """

    interacted: bool = False
    heteroskedastic: bool = False
    clustered: bool = False


WORLDS = {
    "linear": World(),
    "heteroskedastic": World(heteroskedastic=True),
    "clustered": World(clustered=True),
    "interacted": World(interacted=True),
}


def draw(world: World, n: int, k: int, seed: np.random.SeedSequence) -> Units:
    """Units with treatment ``d`` and outcomes ``y`` (one effect for all) and ``h`` (by unit)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, P))
    if world.interacted:
        x = np.sign(x)
    cluster = np.arange(n) // CLUSTER if world.clustered else None
    d = (norm.cdf(_noise(rng, n, cluster)) < expit(_index(x, world))).astype(np.float64)
    spread = 0.3 + 0.8 * np.abs(x[:, 0]) if world.heteroskedastic else 1.0
    base = _outcome(x, world) + spread * _noise(rng, n, cluster)
    outcomes = {"y": base + THETA * d, "h": base + (THETA + SLOPE * x[:, 0]) * d}
    return from_arrays(
        Design(x, tuple(f"x{j}" for j in range(P)), {}), {"d": d}, outcomes, k=k, cluster=cluster
    )


def _index(x: Doubles, world: World) -> Doubles:
    return x[:, : len(INDEX)] @ INDEX + (0.3 * x[:, 0] * x[:, 1] if world.interacted else 0.0)


def _outcome(x: Doubles, world: World) -> Doubles:
    main = x[:, :4] @ np.array([1.0, 0.5, -0.5, 0.25])
    return main + (0.5 * x[:, 0] * x[:, 1] if world.interacted else 0.0)


def _noise(rng: np.random.Generator, n: int, cluster: NDArray[np.intp] | None) -> Doubles:
    """Standard normal, within clusters correlated by a half."""
    own = rng.standard_normal(n)
    if cluster is None:
        return own
    shared = rng.standard_normal(n // CLUSTER)[cluster]
    return np.sqrt(0.5) * (own + shared)


def truth(world: World, estimand: str) -> float:
    """The estimand: THETA of ``y`` for PLR, of ``h`` a mean over a population.

    That is all units (ATE), the treated (ATT), the untreated (ATU), or all by overlap (ATO). A
    weighted mean of x_0 is an integral over fixed quantiles of the two numbers that the propensity
    depends on; where covariates are signs, a sum over eight combinations.
    """
    if estimand not in ("att", "atu", "ato"):
        return THETA
    if world.interacted:
        x = np.array(list(product((-1.0, 1.0), repeat=len(INDEX))))
        m, modifier = expit(_index(x, world)), x[:, 0]
    else:
        first = norm.ppf((np.arange(2_000) + 0.5) / 2_000)[:, None]
        rest = np.linalg.norm(INDEX[1:]) * norm.ppf((np.arange(500) + 0.5) / 500)
        m, modifier = expit(INDEX[0] * first + rest[None, :]), first
    weight = {"att": m, "atu": 1.0 - m, "ato": m * (1.0 - m)}[estimand]
    return float(THETA + SLOPE * (modifier * weight).sum() / weight.sum())
