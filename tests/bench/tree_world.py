"""The rows that the tree benchmarks run on, and XGBoost's settings, the same for everyone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from xgboost import XGBRegressor

from estimators.effects import EffectSpec
from estimators.learners import Design
from estimators.units import Units

COVARIATES, FOLDS, THETA = 50, 5, 0.5
ROUNDS, DEPTH, RATE = 100, 6, 0.1

Doubles = NDArray[np.float64]


def rows(n: int) -> tuple[NDArray[np.float32], Doubles, Doubles]:
    """Covariates ``(n, 50)``, a dose and an outcome: curved confounding, theta = 0.5."""
    draw = np.random.default_rng(20261120)
    x = draw.standard_normal((n, COVARIATES), dtype=np.float32)
    curve = np.sin(x[:, 0]) + 0.5 * np.cos(x[:, 1]) + 0.5 * x[:, 2] * (x[:, 3] > 0)
    d = curve + draw.standard_normal(n)
    y = THETA * d + curve + draw.standard_normal(n)
    return x, d.astype(np.float64), y.astype(np.float64)


def more(n: int, treatments: int, outcomes: int) -> tuple[Doubles, Doubles]:
    """Further treatments and outcomes over the same covariates, ``(columns, n)``."""
    _, d, y = rows(n)
    draw = np.random.default_rng(7)
    doses = np.stack([d + draw.standard_normal(n) for _ in range(treatments)])
    return doses, np.stack([y + draw.standard_normal(n) for _ in range(outcomes)])


def fold_of(n: int) -> NDArray[np.int16]:
    """Fold of each row: the same in every contestant."""
    order = np.random.default_rng(3).permutation(n)
    return (order % FOLDS).astype(np.int16)


def splits(n: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Train and test rows of each fold, as scikit-learn passes them."""
    fold = fold_of(n)
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def model(rounds: int = ROUNDS) -> Any:
    """XGBoost with the same settings, as the peers take it; all cores."""
    return XGBRegressor(
        n_estimators=rounds, max_depth=DEPTH, learning_rate=RATE, max_bin=256,
        tree_method="hist", n_jobs=-1,
    )  # fmt: skip


def units(
    x: NDArray[np.float32], treatments: dict[str, Doubles], outcomes: dict[str, Doubles]
) -> Units:
    """The same rows as Causeway's arrays, in 4,096 cells as above a million clusters."""
    n = len(x)
    return Units(
        Design(x, tuple(f"x{j}" for j in range(x.shape[1])), {}),
        treatments,
        outcomes,
        np.ones(n),
        fold_of(n)[:, None],
        np.arange(n, dtype=np.int64) % 4096,
        tuple(f"bucket:{i:04d}" for i in range(4096)),
        None,
        None,
        bucketed=True,
        groups={},
    )


def effects(
    treatments: list[str], outcomes: list[str], rounds: int = ROUNDS
) -> tuple[EffectSpec, ...]:
    """A partially linear effect of each dose on each outcome."""
    spec = {
        "learner": "xgboost", "max_depth": DEPTH, "learning_rate": RATE, "n_estimators": rounds,
        "min_child_weight": 1.0, "subsample": 1.0, "colsample_bytree": 1.0, "reg_lambda": 1.0,
        "reg_alpha": 0.0, "gamma": 0.0, "max_bin": 256,
    }  # fmt: skip
    return tuple(
        EffectSpec("plr", "slope", d, "continuous", y, "continuous", spec, spec)
        for d in treatments
        for y in outcomes
    )
