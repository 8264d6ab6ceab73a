"""Meta-learners of the conditional effect tau(x) = E[Y(1) - Y(0) | X = x], out of fold.

All five stand on the same out-of-fold nuisances (g0, g1, m, l), fitted once. A unit's tau comes
from second stages that were trained on the other folds:

- ``s``: f of Y on (X, D); tau = f(x, 1) - f(x, 0).
- ``t``: tau = g1 - g0, with no second stage.
- ``x``: tau0 of g1 - Y among D = 0, tau1 of Y - g0 among D = 1; tau = m tau0 + (1 - m) tau1.
- ``r``: (Y - l) / (D - m) on X with weights (D - m)^2.
- ``dr``: g1 - g0 + D (Y - g1) / m - (1 - D) (Y - g0) / (1 - m) on X.

Sources: Kuenzel et al. 2019, *Metalearners for estimating heterogeneous treatment effects* (S, T,
X); Nie and Wager 2021, *Quasi-oracle estimation of heterogeneous treatment effects* (R); Kennedy
2023, *Towards optimal doubly robust estimation of heterogeneous causal effects* (DR). Pseudo-
outcomes are out of fold, but the nuisances behind those of another fold have seen this fold's rows,
as in every single-layer cross-fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from estimators.effects import Spec
from estimators.learners import open_fold, seed_of
from estimators.learners.design import Design
from estimators.scores import irm_ate

Doubles = NDArray[np.float64]

_SMALLEST = 1e-5
"""Residuals of the treatment are kept this far from zero, as in EconML; their weight is zero."""


@dataclass(frozen=True, slots=True)
class CateData:
    """What the second stages see: n units and one repetition's out-of-fold nuisances.

    Attributes
    ----------
    y, d
        ``(n,)`` outcome and binary treatment.
    weight
        ``(n,)`` sampling weights.
    fold
        ``(n,)`` fold numbers.
    g0, g1, m, l
        ``(n,)`` out-of-fold E[Y|D=0,X], E[Y|D=1,X], P(D=1|X) (unclipped) and E[Y|X].
    clip
        The DR-learner's bound of the propensity.
    """

    design: Design
    y: Doubles
    d: Doubles
    weight: Doubles
    fold: NDArray[np.int16]
    g0: Doubles
    g1: Doubles
    m: Doubles
    l: Doubles  # noqa: E741  the paper's name
    clip: float = 0.01


@dataclass(frozen=True, slots=True)
class Regression:
    """One second stage: on which rows, what on X, with which weights.

    Attributes
    ----------
    rows
        ``(n,)`` bool.
    target, weight
        ``(n,)``; weights multiply the sampling weights.
    """

    name: str
    rows: NDArray[np.bool_]
    target: Doubles
    weight: Doubles


def second_stages(data: CateData, learner: str) -> tuple[Regression, ...]:
    """The regressions of a learner that has second stages on X alone (``x``, ``r``, ``dr``)."""
    everyone, ones = np.ones(len(data.y), dtype=np.bool_), np.ones(len(data.y))
    match learner:
        case "x":
            return (
                Regression("x0", data.d == 0, data.g1 - data.y, ones),
                Regression("x1", data.d == 1, data.y - data.g0, ones),
            )
        case "r":
            v = data.d - data.m
            apart = np.where(v < 0, -1.0, 1.0) * np.maximum(np.abs(v), _SMALLEST)
            return (Regression("r", everyone, (data.y - data.l) / apart, v * v),)
        case "dr":
            m = np.clip(data.m, data.clip, 1.0 - data.clip)
            gamma = irm_ate(data.y, data.d, data.g0, data.g1, m)[1]
            return (Regression("dr", everyone, gamma, ones),)
    return ()


@dataclass(frozen=True, slots=True)
class Final:
    """How second stages are fitted.

    Attributes
    ----------
    spec
        The resolved learner (of S too, whose only stage it is).
    salt, rep
        Seed the fits, with the fold and the stage's name.
    """

    spec: Spec
    salt: str = ""
    rep: int = 0
    threads: int = 1
    device: str = "cpu"

    def seed(self, fold: int, name: str) -> int:
        """Seed of one fit."""
        return seed_of(self.salt, self.rep, fold, f"cate.{name}")


def cate(data: CateData, learners: Sequence[str], final: Final) -> dict[str, Doubles]:
    """Out-of-fold conditional effects of every unit, ``(n,)`` by learner."""
    found = {name: np.full(len(data.y), np.nan) for name in learners}
    for fold in np.unique(data.fold).tolist():
        test = np.flatnonzero(data.fold == fold)
        for name in learners:
            found[name][test] = _held_out(data, name, final, fold, test)
    return found


def _held_out(
    data: CateData, learner: str, final: Final, fold: int, test: NDArray[np.intp]
) -> Doubles:
    if learner == "t":
        return np.asarray(data.g1[test] - data.g0[test])
    if learner == "s":
        return _single(data, final, fold, test)
    fits = [_fitted(data, each, final, fold, test) for each in second_stages(data, learner)]
    if learner == "x":
        return np.asarray(data.m[test] * fits[0] + (1.0 - data.m[test]) * fits[1])
    return fits[0]


def _fitted(
    data: CateData, stage: Regression, final: Final, fold: int, test: NDArray[np.intp]
) -> Doubles:
    """A second stage of the other folds' rows, on the fold's."""
    train = np.flatnonzero(stage.rows & (data.fold != fold))
    weight = data.weight * stage.weight
    opened = open_fold(
        final.spec, data.design, train, test, weight, threads=final.threads, device=final.device
    )
    seed = final.seed(fold, stage.name)
    return opened.predict(stage.target[train], "continuous", final.spec, seed)


def _single(data: CateData, final: Final, fold: int, test: NDArray[np.intp]) -> Doubles:
    """S: one regression with the treatment as last column, asked twice of each row."""
    train = np.flatnonzero(data.fold != fold)
    values, n = data.design.values, len(train)
    x = np.concatenate([values[train], values[test], values[test]])
    d = np.concatenate([data.d[train], np.ones(len(test)), np.zeros(len(test))])
    design = replace(
        data.design,
        values=np.concatenate([x, d[:, None].astype(x.dtype)], axis=1),
        names=(*data.design.names, "treatment"),
    )
    weight = np.concatenate([data.weight[train], np.ones(2 * len(test))])
    opened = open_fold(
        final.spec, design, np.arange(n), np.arange(n, len(x)), weight,
        threads=final.threads, device=final.device,
    )  # fmt: skip
    seed = final.seed(fold, "s")
    treated, control = np.split(opened.predict(data.y[train], "continuous", final.spec, seed), 2)
    return np.asarray(treated - control)


def calibration(tau: Doubles, gamma: Doubles, weight: Doubles) -> tuple[Doubles, Doubles]:
    """Best linear predictor of the pseudo-outcomes by an out-of-fold tau, for information.

    Gamma on (1, tau - mean tau): a slope of 1 is a calibrated tau, 0 is one that found nothing; the
    intercept is the average effect. Source: Chernozhukov, Demirer, Duflo and Fernandez-Val 2018,
    *Generic machine learning inference on heterogeneous treatment effects*.

    Returns
    -------
    tuple
        Intercept and slope, and their HC0 standard errors.
    """
    centred = tau - np.average(tau, weights=weight)
    x = np.stack([np.ones(len(tau)), centred], axis=1)
    gram = np.linalg.pinv(x.T @ (weight[:, None] * x))
    found = gram @ (x.T @ (weight * gamma))
    scores = (weight * (gamma - x @ found))[:, None] * x
    return found, np.sqrt(np.diagonal(gram @ (scores.T @ scores) @ gram))
