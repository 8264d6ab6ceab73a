"""Our learners and our predictions behind scikit-learn's interface, for the peers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from estimators.catalog import LEARNERS, Kind
from estimators.learners import open_fold, seed_of
from estimators.learners.design import Design
from jobs.peers.problem import Problem

Doubles = NDArray[np.float64]


class OurRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A learner of the catalogue: fitted when it predicts, since it opens both sets at once.

    Parameters
    ----------
    spec
        The resolved learner.
    categories
        Labels by column, as pairs; further columns (EconML appends the treatment) are numbers.
    """

    kind: Kind = "continuous"

    def __init__(
        self, spec: Mapping[str, Any], categories: Any = (), threads: int = 1, seed: int = 0
    ) -> None:
        self.spec = spec
        self.categories = categories
        self.threads = threads
        self.seed = seed

    def fit(
        self,
        X: Doubles,  # noqa: N803
        y: Doubles,
        sample_weight: Doubles | None = None,
    ) -> OurRegressor:
        """Keep the training rows."""
        self.x_, self.y_ = np.asarray(X), np.asarray(y, dtype=np.float64).ravel()
        given = np.ones(len(self.y_)) if sample_weight is None else np.ravel(sample_weight)
        self.weight_ = np.asarray(given, dtype=np.float64)
        self.seen_: tuple[Doubles, Doubles] | None = None
        return self

    def _fitted(self, X: Doubles) -> Doubles:  # noqa: N803
        if self.seen_ is not None and np.array_equal(self.seen_[0], X, equal_nan=True):
            return self.seen_[1]
        rows = np.concatenate([self.x_, X]).astype(self._type(), copy=False)
        names = tuple(f"x{j}" for j in range(rows.shape[1]))
        cut = len(self.x_)
        opened = open_fold(
            self.spec, Design(rows, names, dict(self.categories)), np.arange(cut),
            np.arange(cut, len(rows)), np.concatenate([self.weight_, np.ones(len(X))]),
            threads=self.threads,
        )  # fmt: skip
        self.seen_ = (np.asarray(X), opened.predict(self.y_, self.kind, self.spec, self.seed))
        return self.seen_[1]

    def _type(self) -> type[np.floating[Any]]:
        known = LEARNERS.get(self.spec["learner"])
        return np.float32 if known is not None and known.single_precision else np.float64

    def predict(self, X: Doubles) -> Doubles:  # noqa: N803
        """Predict, training first where these rows were not asked for before."""
        return self._fitted(X)


class OurClassifier(ClassifierMixin, OurRegressor):  # type: ignore[misc]
    """The same of a binary target."""

    kind: Kind = "binary"

    def fit(
        self,
        X: Doubles,  # noqa: N803
        y: Doubles,
        sample_weight: Doubles | None = None,
    ) -> OurClassifier:
        """Keep the training rows."""
        self.classes_ = np.array([0, 1])
        super().fit(X, y, sample_weight)
        return self

    def predict_proba(self, X: Doubles) -> Doubles:  # noqa: N803
        """Probabilities of 0 and 1, ``(n, 2)``."""
        p = self._fitted(X)
        return np.stack([1.0 - p, p], axis=1)

    def predict(self, X: Doubles) -> NDArray[np.int64]:  # type: ignore[override]  # noqa: N803
        """The likelier class."""
        return (self._fitted(X) > 0.5).astype(np.int64)  # noqa: PLR2004


def learner_of(problem: Problem, part: str, seed: int) -> OurRegressor:
    """Our learner of the ``outcome``, the ``treatment`` or the ``exposure`` for another package."""
    spec = problem.learners["outcome" if part == "outcome" else "treatment"]
    given = (
        spec, tuple(problem.categories.items()), problem.threads,
        seed_of(seed, part),
    )  # fmt: skip
    return OurClassifier(*given) if problem.kinds[part] == "binary" else OurRegressor(*given)


class Looked(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predictions made elsewhere, found by the row number in the first column.

    Parameters
    ----------
    values
        ``(n, arms)``: the last columns of the regressors, the treatment's, choose the arm.
    """

    def __init__(self, values: Doubles) -> None:
        self.values = values

    def fit(self, X: Doubles, y: Doubles, **_: Any) -> Looked:  # noqa: N803
        """Nothing is learnt."""
        return self

    def predict(self, X: Doubles) -> Doubles:  # noqa: N803
        """The predictions of these rows."""
        rows = X[:, 0].astype(np.int64)
        arm = X[:, -1].astype(np.int64) if self.values.shape[1] > 1 else 0
        return np.asarray(self.values[rows, arm], dtype=np.float64)


class LookedTogether(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The same of several treatments at once.

    Parameters
    ----------
    values
        ``(n, J)``.
    """

    def __init__(self, values: Doubles) -> None:
        self.values = values

    def fit(self, X: Doubles, y: Doubles, **_: Any) -> LookedTogether:  # noqa: N803
        """Nothing is learnt."""
        return self

    def predict(self, X: Doubles) -> Doubles:  # noqa: N803
        """The predictions of these rows, ``(rows, J)``."""
        return np.asarray(self.values[X[:, 0].astype(np.int64)], dtype=np.float64)


class LookedProbability(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The same of a propensity."""

    def __init__(self, values: Doubles) -> None:
        self.values = values

    def fit(self, X: Doubles, y: Doubles, **_: Any) -> LookedProbability:  # noqa: N803
        """Nothing is learnt."""
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Doubles) -> Doubles:  # noqa: N803
        """Probabilities of 0 and 1, ``(n, 2)``."""
        p = self.values[X[:, 0].astype(np.int64)]
        return np.stack([1.0 - p, p], axis=1)

    def predict(self, X: Doubles) -> NDArray[np.int64]:  # noqa: N803
        """The likelier class."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)  # noqa: PLR2004
