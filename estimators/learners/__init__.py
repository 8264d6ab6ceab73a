"""Learners of conditional means: from a specification to out-of-fold predictions.

A fold is opened once for a set of training rows and gives predictions for many targets, so that
what targets share (XGBoost's binned matrix, an encoding) is built once.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from estimators.catalog import CHOSEN_INSIDE, LEARNERS, SHAPES_MATRIX, Kind, learner_of
from estimators.effects import Spec
from estimators.errors import PlatformError, UsageError
from estimators.learners.design import Design, Doubles, Fold, Hashes, Index

__all__ = [
    "Design",
    "Fold",
    "check_runs_on",
    "draws_inside",
    "open_fold",
    "seed_of",
    "shares_matrix",
]


def seed_of(*parts: object) -> int:
    """A 31-bit seed from names, not from a worker or an order."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def shares_matrix(spec: Spec) -> tuple[Any, ...]:
    """Targets with equal values here are fitted in one opened fold."""
    return (
        spec["learner"],
        *(spec.get(name) for name in SHAPES_MATRIX),
        spec.get("max_train_rows"),
    )


def draws_inside(spec: Spec) -> bool:
    """Whether rows are drawn among the training rows: that takes hashes of their ids."""
    unsettled = spec["learner"] == "spline" and "penalty" not in spec
    return unsettled or not CHOSEN_INSIDE.isdisjoint(spec)


def open_fold(
    spec: Spec,
    design: Design,
    train: Index,
    test: Index,
    weight: Doubles,
    *,
    place: Hashes | None = None,
    threads: int = 1,
    device: str = "cpu",
    scratch: str | None = None,
) -> Fold:
    """Open a fold for the learner of `spec`.

    Parameters
    ----------
    train, test
        Row numbers, ascending.
    weight
        ``(n,)`` sampling weights of all rows.
    place
        ``(n,)`` hashes of all rows' clusters, which draws inside the fold follow; None: each row
        is a cluster.
    device
        ``cpu`` or ``cuda``; a learner that cannot use it raises, it never falls back.
    scratch
        A folder for what need not stay in memory: the bins of trees.

    Raises
    ------
    PlatformError
        The device is not there, or the learner does not run on it.
    UsageError
        The learner fits from sums of products: it has no fold of rows.
    """
    # Imported where they are used: who only reads sums needs neither XGBoost nor scikit-learn.
    from estimators.learners.boosted import BoostedFold
    from estimators.learners.linear import LinearFold
    from estimators.learners.named import NamedFold
    from estimators.learners.spline import SplineFold

    name = spec["learner"]
    check_runs_on(name, device)
    if learner_of(name).sums:
        raise UsageError(
            f"learner {name!r} fits from sums of products, not from rows",
            code="learner_of_sums",
            remedy="take `spline` for this study where rows are fitted (`causeway compare`)",
        )
    weights = weight[train]
    if name not in LEARNERS:
        return NamedFold(spec, design, train, test, weights)
    if name == "xgboost":
        return BoostedFold(
            spec, design, train, test, weight, threads=threads, device=device, scratch=scratch
        )
    if name == "linear":
        return LinearFold(design, train, test, weights)
    if name == "spline":
        own = None if place is None else place[train]
        return SplineFold(spec, design, train, test, weights, place=own)
    return _ConstantFold(len(test), weights)


def check_runs_on(name: str, device: str) -> None:
    """Check that a learner runs on a device.

    Raises
    ------
    PlatformError
        It does not.
    """
    if device not in learner_of(name).devices:
        raise PlatformError(
            f"learner {name!r} does not run on {device!r}",
            code="device",
            remedy="choose device: cpu in the profile, or a learner that runs there",
        )


class _ConstantFold:
    """The weighted mean of the training rows."""

    def __init__(self, held_out: int, weight: Doubles) -> None:
        self.held_out = held_out
        self.weight = weight

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        return np.full(self.held_out, float(np.average(y, weights=self.weight)))
