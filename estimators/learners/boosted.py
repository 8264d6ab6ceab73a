"""Gradient boosted trees by XGBoost: one binned matrix a fold, many targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost as xgb

from estimators.catalog import Kind
from estimators.effects import Spec
from estimators.errors import PlatformError
from estimators.learners.design import Design, Doubles, Index

_PROBABILITY_FLOOR = 1e-6


class BoostedFold:
    """One `QuantileDMatrix`; labels are swapped, which is bit-identical to a fresh build."""

    def __init__(
        self,
        spec: Spec,
        design: Design,
        train: Index,
        test: Index,
        weight: Doubles,
        *,
        threads: int,
        device: str,
    ) -> None:
        if device == "cuda":
            require_cuda()
        weight, self.held_out_weight = weight[train], weight[test]
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
        """Train on `y` and predict the held-out rows."""
        self.matrix.set_info(label=y)
        settings = self._settings(y, kind, spec, seed)
        booster = xgb.train(settings, self.matrix, num_boost_round=spec["n_estimators"])
        predicted = booster.inplace_predict(self.held_out, validate_features=False)
        return np.asarray(predicted, dtype=np.float64)

    def stopped(
        self, y: Doubles, kind: Kind, spec: Spec, seed: int, truth: Doubles, *, patience: int
    ) -> tuple[Spec, Doubles]:
        """Train until the held-out rows, whose values are `truth`, are predicted no better.

        Returns
        -------
        tuple
            `spec` with the best number of rounds, and its predictions.
        """
        self.matrix.set_info(label=y)
        held_out = xgb.QuantileDMatrix(
            self.held_out,
            label=truth,
            weight=self.held_out_weight,
            ref=self.matrix,
            feature_names=self.matrix.feature_names,
            feature_types=self.matrix.feature_types,
            enable_categorical=True,
            max_bin=spec["max_bin"],
            nthread=self.threads,
        )
        metric = "logloss" if kind == "binary" else "rmse"
        booster = xgb.train(
            self._settings(y, kind, spec, seed) | {"eval_metric": metric},
            self.matrix,
            num_boost_round=spec["n_estimators"],
            evals=[(held_out, "judge")],
            early_stopping_rounds=patience,
            verbose_eval=False,
        )
        rounds = booster.best_iteration + 1
        predicted = booster.inplace_predict(
            self.held_out, iteration_range=(0, rounds), validate_features=False
        )
        return {**spec, "n_estimators": rounds}, np.asarray(predicted, dtype=np.float64)

    def _settings(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> dict[str, Any]:
        base = float(np.average(y, weights=self.weight))
        if kind == "binary":
            base = min(max(base, _PROBABILITY_FLOOR), 1.0 - _PROBABILITY_FLOOR)
        return {
            **{key: spec[key] for key in spec if key not in ("learner", "n_estimators")},
            "objective": "binary:logistic" if kind == "binary" else "reg:squarederror",
            "base_score": base,
            "tree_method": "hist",
            "device": self.device,
            "nthread": self.threads,
            "seed": seed,
        }


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
