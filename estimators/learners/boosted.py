"""Gradient boosted trees by XGBoost: one binned matrix a fold, many targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from estimators.catalog import Kind
from estimators.cuda import cuda_devices, no_gpu
from estimators.effects import Spec
from estimators.learners.batches import Batches, batch, spans
from estimators.learners.design import Design, Doubles, Index
from estimators.learners.labels import AS_THEY_ARE, Labels, labels, weighted_mean

Singles = NDArray[np.float32]
_PROBABILITY_FLOOR = 1e-6
_NOT_TRAININGS = frozenset({"learner", "n_estimators", "num_workers"})


class BoostedFold:
    """One matrix of bins; labels are swapped, which is bit-identical to a fresh build.

    With `scratch`, a folder, the bins stay there and are read page by page at each level of a tree.
    """

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
        scratch: str | None = None,
    ) -> None:
        if device == "cuda":
            require_cuda()
        self.design = design
        self.held_out = test
        self.held_out_weight = weight[test]
        given = weight[train]
        self.weight = None if np.all(given == 1.0) else given
        self.threads = threads
        self.device = device
        self.scratch = scratch
        self.matrix = self._binned(spec, train, self.weight)

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Train on `y` and predict the held-out rows."""
        scale = self._labels(y, kind, spec)
        given = scale.of(y)
        self.matrix.set_info(label=given)
        settings = self._settings(given, kind, spec, seed)
        booster = xgb.train(settings, self.matrix, num_boost_round=spec["n_estimators"])
        return scale.back(self._predicted(booster, spec["n_estimators"]))

    def stopped(
        self, y: Doubles, kind: Kind, spec: Spec, seed: int, truth: Doubles, *, patience: int
    ) -> tuple[Spec, Doubles]:
        """Train until the held-out rows, whose values are `truth`, are predicted no better.

        Returns
        -------
        tuple
            `spec` with the best number of rounds, and its predictions.
        """
        scale = self._labels(y, kind, spec)
        given = scale.of(y)
        self.matrix.set_info(label=given)
        held_out = self._binned(spec, self.held_out, self.held_out_weight, ref=self.matrix)
        held_out.set_info(label=scale.of(truth))
        metric = "logloss" if kind == "binary" else "rmse"
        booster = xgb.train(
            self._settings(given, kind, spec, seed) | {"eval_metric": metric},
            self.matrix,
            num_boost_round=spec["n_estimators"],
            evals=[(held_out, "judge")],
            early_stopping_rounds=patience,
            verbose_eval=False,
        )
        rounds = booster.best_iteration + 1
        return {**spec, "n_estimators": rounds}, scale.back(self._predicted(booster, rounds))

    def _labels(self, y: Doubles, kind: Kind, spec: Spec) -> Labels:
        """How a target is given; penalties on gains and leaves are in a continuous one's unit."""
        if kind == "binary":
            return AS_THEY_ARE
        return labels(y, self.weight, rescale=not (spec["gamma"] or spec["reg_alpha"]))

    def _binned(
        self,
        spec: Spec,
        rows: Index,
        weight: Doubles | None,
        ref: xgb.QuantileDMatrix | None = None,
    ) -> xgb.QuantileDMatrix:
        """The bins of some rows: cut as in `ref`, else where their own quantiles lie."""
        form = xgb.QuantileDMatrix if self.scratch is None else xgb.ExtMemQuantileDMatrix
        return form(
            Batches(self.design, rows, weight, self.scratch),
            ref=ref,
            enable_categorical=True,
            max_bin=spec["max_bin"],
            nthread=self.threads,
        )

    def _predicted(self, booster: xgb.Booster, rounds: int) -> Doubles:
        """Predictions of the held-out rows by the first `rounds` rounds."""
        predict = self._in_place if self.device == "cpu" else self._by_matrix
        found = np.empty(len(self.held_out))
        for span in spans(self.design, self.held_out):
            found[span] = predict(booster, self.held_out[span], rounds)
        return found

    def _in_place(self, booster: xgb.Booster, rows: Index, rounds: int) -> Singles:
        """Predictions of a batch, read where it lies."""
        return np.asarray(
            booster.inplace_predict(
                batch(self.design, rows), iteration_range=(0, rounds), validate_features=False
            )
        )

    def _by_matrix(self, booster: xgb.Booster, rows: Index, rounds: int) -> Singles:
        """The same on a device: of rows in host memory XGBoost makes a matrix there, and warns."""
        types = self.design.feature_types
        matrix = xgb.DMatrix(
            batch(self.design, rows), feature_types=types, enable_categorical=True,
            nthread=self.threads,
        )  # fmt: skip
        return np.asarray(
            booster.predict(matrix, iteration_range=(0, rounds), validate_features=False)
        )

    def _settings(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> dict[str, Any]:
        base = weighted_mean(y, self.weight)
        if kind == "binary":
            base = min(max(base, _PROBABILITY_FLOOR), 1.0 - _PROBABILITY_FLOOR)
        return {
            **{key: value for key, value in spec.items() if key not in _NOT_TRAININGS},
            "objective": "binary:logistic" if kind == "binary" else "reg:squarederror",
            "base_score": base,
            "tree_method": "hist",
            "device": self.device,
            "nthread": self.threads,
            "seed": seed,
        }


def require_cuda() -> None:
    """Raise where XGBoost would fall back to the CPU with only a warning."""
    if not xgb.build_info().get("USE_CUDA") or not cuda_devices():
        raise no_gpu()
