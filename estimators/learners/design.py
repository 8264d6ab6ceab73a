"""What a learner is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from estimators.catalog import Kind
from estimators.effects import Spec

Doubles = NDArray[np.float64]
Index = NDArray[np.intp]
Hashes = NDArray[np.uint64]


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

    @property
    def numbers(self) -> list[int]:
        """Index of the columns that are numbers."""
        return [j for j in range(len(self.names)) if j not in self.categories]


class Fold(Protocol):
    """An opened training set and its held-out rows."""

    def predict(self, y: Doubles, kind: Kind, spec: Spec, seed: int) -> Doubles:
        """Fit `y` (one value a training row) and predict the held-out rows."""


@runtime_checkable
class StoppingFold(Fold, Protocol):
    """A fold whose learner adds rounds, and can tell when they no longer help."""

    def stopped(
        self, y: Doubles, kind: Kind, spec: Spec, seed: int, truth: Doubles, *, patience: int
    ) -> tuple[Spec, Doubles]:
        """Fit `y` until the held-out rows, whose values are `truth`, are predicted no better."""
