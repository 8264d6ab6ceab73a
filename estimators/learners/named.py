"""Learners of other packages by path: any estimator with scikit-learn's interface.

One name stands for two classes, a regressor and its classifier, chosen by the kind of the target.
Learners that take missing values and categories get them as such (histogram gradient boosting of
scikit-learn, LightGBM, XGBoost); for the others numbers are standardised and filled, with a flag,
and categories are one-hot. Seeds are the study's, and a fit has one thread, so that it gives the
same bytes inline and on Ray.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from threadpoolctl import ThreadpoolController

from estimators.blas import one_blas_thread
from estimators.catalog import CUSTOM, ENTRY_POINTS, PACKAGES, Kind, class_names
from estimators.effects import Spec
from estimators.errors import NotEstimableError, PlatformError
from estimators.learners.design import Design, Doubles, Index
from estimators.learners.linear import encoder

KINDS: tuple[Kind, ...] = ("continuous", "binary")


class NamedFold:
    """Rows as the learner takes them: encoded once for all targets."""

    def __init__(
        self, spec: Spec, design: Design, train: Index, test: Index, weight: Doubles
    ) -> None:
        self.weight = weight
        self.design = design
        self.codes = _takes_codes(spec)
        if self.codes:
            self.train, self.test = design.values[train], design.values[test]
        else:
            encode = encoder(design, train, weight)
            self.train, self.test = encode(design.values[train]), encode(design.values[test])

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Fit the class of the target's kind and predict the held-out rows."""
        if kind == "binary" and y.min() == y.max():
            return np.full(len(self.test), y[0])
        model = make(spec, kind)
        given = _settled(model, seed, self.design if self.codes else None)
        if not np.all(self.weight == 1.0):
            if "sample_weight" not in inspect.signature(model.fit).parameters:
                raise _failed(spec, "it takes no weights, and the study has them")
            given["sample_weight"] = self.weight
        threads = ThreadpoolController()
        try:
            with one_blas_thread(), threads.limit(limits=1, user_api="openmp"):
                target = y.astype(np.int64) if kind == "binary" else y
                model.fit(self.train, target, **given)
                found = _predicted(model, self.test, kind)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise _failed(spec, str(error)) from error
        if not np.isfinite(found).all():
            raise _failed(spec, "it predicts values that are not finite")
        return found


def _predicted(model: Any, rows: Any, kind: Kind) -> Doubles:
    if kind == "binary":
        column = list(model.classes_).index(1)
        return np.asarray(model.predict_proba(rows)[:, column], dtype=np.float64)
    return np.asarray(model.predict(rows), dtype=np.float64).reshape(len(rows))


def make(spec: Spec, kind: Kind) -> Any:
    """An unfitted estimator for a kind of target.

    Raises
    ------
    PlatformError
        ``no_library``: its package is not installed, or does not have it.
    NotEstimableError
        ``learner_failed``: it does not take the parameters.
    """
    parameters = {key: spec[key] for key in spec if key != "learner"}
    name = spec["learner"]
    try:
        if name.startswith(f"{CUSTOM}."):
            return _entry_point(name)(kind, **parameters)
        module, _, given = name.rpartition(".")
        for candidate in class_names(given, kind):
            found = getattr(import_module(module), candidate, None)
            if found is not None and is_classifier(found(**parameters)) == (kind == "binary"):
                return found(**parameters)
    except ImportError as error:
        package = name.partition(".")[0]
        raise PlatformError(
            f"the learner {name!r} cannot be imported: {error}",
            code="no_library",
            remedy=f"`pip install {PACKAGES.get(package, package)}` where the fits run",
        ) from error
    except TypeError as error:
        raise _failed(spec, str(error)) from error
    raise _failed(spec, f"it has no class for a {kind} target")


def _entry_point(name: str) -> Any:
    wanted = name.partition(".")[2]
    for each in entry_points(group=ENTRY_POINTS, name=wanted):
        return each.load()
    raise ImportError(f"no entry point {wanted!r} in the group {ENTRY_POINTS!r}")


def _takes_codes(spec: Spec) -> bool:
    """Whether the learner takes missing values and categories: its classes have a word for it."""
    words = {"categorical_features", "enable_categorical", "categorical_feature"}
    for kind in KINDS:
        try:
            model = make(spec, kind)
        except NotEstimableError:  # a name may have one class only
            continue
        known = {*model.get_params(), *inspect.signature(model.fit).parameters}
        return not words.isdisjoint(known)
    raise _failed(spec, "it is no learner")


def _settled(model: Any, seed: int, design: Design | None) -> dict[str, Any]:
    """Set seeds, one thread and the categories; what `fit` must be told comes back."""
    known = model.get_params(deep=True)
    settings: dict[str, Any] = {}
    for key in known:
        settings |= {"random_state": {key: seed}, "n_jobs": {key: 1}}.get(key.split("__")[-1], {})
    given: dict[str, Any] = {}
    lightgbm = "categorical_feature" in inspect.signature(model.fit).parameters
    if lightgbm:
        settings |= {"verbosity": -1, "deterministic": True, "force_row_wise": True}
    if design is not None and design.categories:
        if lightgbm:
            given["categorical_feature"] = list(design.categories)
        elif "enable_categorical" in known:  # XGBoost
            settings |= {"enable_categorical": True, "feature_types": design.feature_types}
        else:
            settings["categorical_features"] = list(design.categories)
    model.set_params(**settings)
    return given


def _failed(spec: Spec, reason: str) -> NotEstimableError:
    return NotEstimableError(
        f"the learner {spec['learner']!r} failed: {reason}",
        code="learner_failed",
        remedy="mend its parameters in the study, or take another learner",
    )
