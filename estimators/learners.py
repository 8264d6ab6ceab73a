"""Learners of conditional means: from a specification to out-of-fold predictions.

A fold is opened once for a set of training rows and gives predictions for many targets, so that
what targets share (XGBoost's binned matrix, a factorised Gram) is built once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from estimators.blas import one_blas_thread
from estimators.catalog import LEARNERS, Kind
from estimators.effects import Spec
from estimators.errors import PlatformError

Doubles = NDArray[np.float64]
_PROBABILITY_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Design:
    """Covariates as the learners see them.

    Attributes
    ----------
    values
        ``(n, p)`` float32 (trees only) or float64, NaN where missing; a category is its code.
    names
        The covariates' names, length p.
    categories
        Category labels by column index; columns that are not here are numbers.
    """

    values: NDArray[np.floating[Any]]
    names: tuple[str, ...]
    categories: Mapping[int, tuple[str, ...]]

    @property
    def feature_types(self) -> list[str]:
        """XGBoost's feature types: ``c`` for categories, ``q`` for numbers."""
        return ["c" if j in self.categories else "q" for j in range(len(self.names))]


class Fold(Protocol):
    """An opened training set and its held-out rows."""

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Fit `y` (one value a training row) and predict the held-out rows."""


def seed_of(*parts: object) -> int:
    """A 31-bit seed from names, not from a worker or an order."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def shares_matrix(spec: Spec) -> tuple[str, Any]:
    """Targets with equal values here are fitted in one opened fold."""
    return (spec["learner"], spec.get("max_bin"))


def open_fold(
    spec: Spec,
    design: Design,
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    weight: Doubles,
    *,
    threads: int = 1,
    device: str = "cpu",
) -> Fold:
    """Open a fold for the learner of `spec`.

    Parameters
    ----------
    train, test
        Row numbers, ascending.
    weight
        ``(n,)`` sampling weights of all rows.
    device
        ``cpu`` or ``cuda``; a learner that cannot use it raises, it never falls back.

    Raises
    ------
    PlatformError
        The device is not there, or the learner does not run on it.
    """
    name = spec["learner"]
    if device not in LEARNERS[name].devices:
        raise PlatformError(
            f"learner {name!r} does not run on {device!r}",
            code="device",
            remedy="choose device: cpu in the profile, or a learner that runs there",
        )
    weights = weight[train]
    if name == "xgboost":
        return _BoostedFold(spec, design, train, test, weights, threads=threads, device=device)
    if name == "linear":
        return _LinearFold(design, train, test, weights)
    return _ConstantFold(len(test), weights)


class _BoostedFold:
    """One `QuantileDMatrix`; labels are swapped, which is bit-identical to a fresh build."""

    def __init__(
        self,
        spec: Spec,
        design: Design,
        train: NDArray[np.intp],
        test: NDArray[np.intp],
        weight: Doubles,
        *,
        threads: int,
        device: str,
    ) -> None:
        if device == "cuda":
            require_cuda()
        self.weight = weight
        self.threads = threads
        self.device = device
        self.held_out = design.values[test]
        self.matrix = xgb.QuantileDMatrix(
            design.values[train],
            weight=None if np.all(weight == 1.0) else weight,
            feature_names=[f"x{j}" for j in range(len(design.names))],
            feature_types=design.feature_types,
            enable_categorical=True,
            max_bin=spec["max_bin"],
            nthread=threads,
        )

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        base = float(np.average(y, weights=self.weight))
        if kind == "binary":
            base = min(max(base, _PROBABILITY_FLOOR), 1.0 - _PROBABILITY_FLOOR)
        self.matrix.set_info(label=y)
        parameters = {key: spec[key] for key in spec if key not in ("learner", "n_estimators")}
        booster = xgb.train(
            {
                **parameters,
                "objective": "binary:logistic" if kind == "binary" else "reg:squarederror",
                "base_score": base,
                "tree_method": "hist",
                "device": self.device,
                "nthread": self.threads,
                "seed": seed,
            },
            self.matrix,
            num_boost_round=spec["n_estimators"],
        )
        predicted = booster.inplace_predict(self.held_out, validate_features=False)
        return np.asarray(predicted, dtype=np.float64)


def require_cuda() -> None:
    """Raise where XGBoost would fall back to the CPU with only a warning."""
    if not xgb.build_info().get("USE_CUDA") or not _cuda_devices():
        raise PlatformError(
            "device: cuda was asked for and no CUDA device is there",
            code="no_gpu",
            remedy="run on a machine with a GPU and its driver, or set device: cpu",
        )


def _cuda_devices() -> int:
    """Count the devices that the NVIDIA driver shows, without a CUDA toolkit."""
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


class _LinearFold:
    """Ridge or logistic regression on standardised numbers and one-hot categories."""

    def __init__(
        self,
        design: Design,
        train: NDArray[np.intp],
        test: NDArray[np.intp],
        weight: Doubles,
    ) -> None:
        self.weight = weight
        encode = _encoder(design, train, weight)
        self.train, self.test = encode(design.values[train]), encode(design.values[test])

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        penalty = float(spec["penalty"])
        if kind == "binary":
            if y.min() == y.max():
                return np.full(len(self.test), y[0])
            strength = 1.0 / max(penalty, 1e-10)
            # Newton's last step is cheap, and one more or less must not show on another machine.
            model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-9, max_iter=200)
            with one_blas_thread():
                model.fit(self.train, y, sample_weight=self.weight)
                return np.asarray(model.predict_proba(self.test)[:, 1], dtype=np.float64)
        ridge = Ridge(alpha=penalty, solver="cholesky")
        with one_blas_thread():
            ridge.fit(self.train, y, sample_weight=self.weight)
            return np.asarray(ridge.predict(self.test), dtype=np.float64)


def _encoder(
    design: Design, train: NDArray[np.intp], weight: Doubles
) -> Callable[[NDArray[np.floating[Any]]], Doubles]:
    """Encoding learnt on the training rows: mean-filled numbers with a missing flag, one-hots.

    Means and spreads are weighted, so that a row of weight k encodes as k copies of it do.
    """
    values = design.values[train].astype(np.float64)
    numbers = [j for j in range(values.shape[1]) if j not in design.categories]
    observed = ~np.isnan(values[:, numbers])
    mass = np.where(observed, weight[:, None], 0.0)
    total = np.maximum(mass.sum(axis=0), np.finfo(np.float64).tiny)
    filled = np.where(observed, values[:, numbers], 0.0)
    mean = (mass * filled).sum(axis=0) / total
    spread = np.sqrt((mass * np.where(observed, filled - mean, 0.0) ** 2).sum(axis=0) / total)
    scale = np.where(spread > 0, spread, 1.0)
    flagged = np.flatnonzero(~observed.all(axis=0))

    def encode(rows: NDArray[np.floating[Any]]) -> Doubles:
        number = rows[:, numbers].astype(np.float64)
        missing = np.isnan(number)
        parts = [np.where(missing, 0.0, (number - mean) / scale), missing[:, flagged]]
        parts += [
            rows[:, [j]] == np.arange(len(labels))[None, :]
            for j, labels in design.categories.items()
        ]
        return np.concatenate([part.astype(np.float64) for part in parts], axis=1)

    return encode


class _ConstantFold:
    """The weighted mean of the training rows."""

    def __init__(self, held_out: int, weight: Doubles) -> None:
        self.held_out = held_out
        self.weight = weight

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        return np.full(self.held_out, float(np.average(y, weights=self.weight)))
