"""Worlds of the coverage grid: units with known effects, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy.linalg import toeplitz
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
DECAY = 1.0 / np.arange(1, 6)
"""Of the sparse world's covariates the first five matter, the j-th by 1 / j."""
BENDS = np.array([0.6, 0.5, -0.3])
"""Logit of the nonlinear world's propensity: on a sine, a square and a line."""


@dataclass(frozen=True, slots=True)
class World:
    """A design; all covariates have mean 0 and variance 1.

    Attributes
    ----------
    shape
        Of outcome and propensity. ``linear``: independent normal covariates. ``interacted``:
        covariates are signs, and two of them interact: a world for trees. (Steps in a normal
        covariate would not do: where a split is off, both nuisances are off on the same units, and
        that bias is a third of the spread at n = 2,000.) ``sparse``: many normal covariates with
        correlations 0.5^|j - k|, five of which matter, in both equations with the same falling
        coefficients. ``nonlinear``: uniform covariates, in both equations a sine and a square
        beside a line.
    p
        Covariates.
    heteroskedastic
        The noise grows with a covariate.
    clustered
        Treatment and noise are correlated within clusters.

    References
    ----------
    Belloni, Chernozhukov and Hansen 2014, *Inference on treatment effects after selection among
    high-dimensional controls*: the sparse world is after its simulations.
    Friedman 1991, *Multivariate adaptive regression splines*: a sine, a square and lines of uniform
    covariates; without the product inside the sine, which additive fits cannot take.
    """

    shape: Literal["linear", "interacted", "sparse", "nonlinear"] = "linear"
    p: int = P
    heteroskedastic: bool = False
    clustered: bool = False


WORLDS = {
    "linear": World(),
    "heteroskedastic": World(heteroskedastic=True),
    "clustered": World(clustered=True),
    "interacted": World("interacted"),
    "sparse": World("sparse", p=50),
    "sparse_20": World("sparse", p=20),
    "nonlinear": World("nonlinear", p=4),
}


def draw(world: World, n: int, k: int, seed: np.random.SeedSequence) -> Units:
    """Units with treatment ``d`` and outcomes ``y`` (one effect for all) and ``h`` (by unit)."""
    rng = np.random.default_rng(seed)
    x = _covariates(rng, n, world)
    cluster = np.arange(n) // CLUSTER if world.clustered else None
    d = (norm.cdf(_noise(rng, n, cluster)) < expit(_index(x, world))).astype(np.float64)
    spread = 0.3 + 0.8 * np.abs(x[:, 0]) if world.heteroskedastic else 1.0
    base = outcome(x, world) + spread * _noise(rng, n, cluster)
    outcomes = {"y": base + THETA * d, "h": base + (THETA + SLOPE * x[:, 0]) * d}
    names = tuple(f"x{j}" for j in range(x.shape[1]))
    return from_arrays(Design(x, names, {}), {"d": d}, outcomes, k=k, cluster=cluster)


def _covariates(rng: np.random.Generator, n: int, world: World) -> Doubles:
    match world.shape:
        case "sparse":
            return np.asarray(
                rng.standard_normal((n, world.p)) @ np.linalg.cholesky(_sigma(world.p)).T
            )
        case "nonlinear":
            return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), (n, world.p))
        case "interacted":
            return np.sign(rng.standard_normal((n, world.p)))
    return rng.standard_normal((n, world.p))


def _sigma(p: int) -> Doubles:
    return np.asarray(toeplitz(0.5 ** np.arange(p)))


def _bends(x: Doubles) -> Doubles:
    """A sine, a square and a line, ``(n, 3)``."""
    return np.stack([np.sin(2.0 * x[:, 0]), x[:, 1] ** 2 - 1.0, x[:, 2]], axis=1)


def _index(x: Doubles, world: World) -> Doubles:
    """Logit of the propensity."""
    match world.shape:
        case "sparse":
            return np.asarray(0.4 * x[:, : len(DECAY)] @ DECAY)
        case "nonlinear":
            return np.asarray(_bends(x) @ BENDS)
    both = 0.3 * x[:, 0] * x[:, 1] if world.shape == "interacted" else 0.0
    return np.asarray(x[:, : len(INDEX)] @ INDEX + both)


def outcome(x: Doubles, world: World) -> Doubles:
    """Mean of an untreated unit's outcome."""
    match world.shape:
        case "sparse":
            return np.asarray(0.6 * x[:, : len(DECAY)] @ DECAY)
        case "nonlinear":
            return np.asarray(_bends(x) @ np.array([1.0, 0.8, -0.5]) + 0.25 * x[:, 3])
    main = x[:, :4] @ np.array([1.0, 0.5, -0.5, 0.25])
    return np.asarray(main + (0.5 * x[:, 0] * x[:, 1] if world.shape == "interacted" else 0.0))


def _noise(rng: np.random.Generator, n: int, cluster: NDArray[np.intp] | None) -> Doubles:
    """Standard normal, within clusters correlated by a half."""
    own = rng.standard_normal(n)
    if cluster is None:
        return own
    shared = rng.standard_normal(n // CLUSTER)[cluster]
    return np.sqrt(0.5) * (own + shared)


def truth(world: World, estimand: str) -> float:
    """The estimand: THETA of ``y`` for PLR, of ``h`` a mean over a population.

    That is all units (ATE), the treated (ATT), the untreated (ATU), or all by overlap (ATO): a
    mean of x_0 weighted by a function of the propensity.
    """
    if estimand not in ("att", "atu", "ato"):
        return THETA
    m, modifier, mass = _population(world)
    weight = mass * {"att": m, "atu": 1.0 - m, "ato": m * (1.0 - m)}[estimand]
    return float(THETA + SLOPE * (modifier * weight).sum() / weight.sum())


def _population(world: World) -> tuple[Doubles, Doubles, Doubles]:
    """Propensity, mean of x_0 and mass at the points of a quadrature.

    Of normal covariates the propensity depends on the index, with which x_0 moves linearly; of
    others it depends on the first three.
    """
    if world.shape in ("linear", "sparse"):
        sparse = world.shape == "sparse"
        slopes = 0.4 * DECAY if sparse else INDEX
        sigma = _sigma(len(slopes)) if sparse else np.eye(len(slopes))
        nodes, mass = hermegauss(100)
        spread = np.sqrt(slopes @ sigma @ slopes)
        return expit(spread * nodes), (sigma @ slopes)[0] / spread * nodes, mass
    nodes, mass = np.array([-1.0, 1.0]), np.ones(2)
    if world.shape == "nonlinear":
        nodes, mass = leggauss(40)
        nodes = nodes * np.sqrt(3.0)
    x = np.array(list(product(nodes, repeat=3)))
    return expit(_index(x, world)), x[:, 0], np.prod(list(product(mass, repeat=3)), axis=1)
