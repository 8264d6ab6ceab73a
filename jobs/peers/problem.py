"""One effect as plain arrays: what every package gets, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.catalog import Kind
from estimators.learners.design import Design

Doubles = NDArray[np.float64]
Pair = tuple[float, float]
"""Theta and its unclustered standard error."""
_ARRAYS = ("y", "d", "x", "fold")
_FACTS = ("effect_id", "method", "estimand", "clip", "kinds", "learners", "threads", "seeds")


@dataclass(frozen=True, slots=True)
class Problem:
    """An effect on n units.

    Attributes
    ----------
    y, d
        ``(n,)`` outcome and treatment.
    x
        ``(n, p)`` covariates; a category is its code, NaN is missing.
    categories
        Labels by column of `x`.
    z
        ``(n,)`` the instrument; of a contrast of arms, the control arm's indicator (`d` is then
        the arm's); else None.
    fold
        ``(n,)`` fold of the first repetition.
    nuisance
        ``(n,)`` our out-of-fold predictions by their names in the paper, unclipped.
    kinds
        Of the ``outcome``, of the ``treatment`` that ``m`` predicts (with an instrument, the
        instrument) and of the ``exposure`` itself.
    learners
        Resolved, of the ``outcome`` and of the ``treatment``.
    seeds
        How often each package cross-fits anew, on folds of its own.
    """

    effect_id: str
    method: str
    estimand: str
    clip: float
    y: Doubles
    d: Doubles
    x: NDArray[np.floating[Any]]
    categories: Mapping[int, tuple[str, ...]]
    fold: NDArray[np.int64]
    nuisance: Mapping[str, Doubles]
    kinds: Mapping[str, Kind]
    learners: Mapping[str, Mapping[str, Any]]
    threads: int
    seeds: int
    z: Doubles | None = None

    @property
    def assigned(self) -> Doubles:
        """What ``m`` predicts: the instrument where there is one, else the treatment."""
        return self.z if self.z is not None and self.method in ("pliv", "iivm") else self.d

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.y)

    @property
    def k(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    @property
    def design(self) -> Design:
        """Covariates as our learners take them."""
        names = tuple(f"x{j}" for j in range(self.x.shape[1]))
        return Design(self.x, names, self.categories)

    def splits(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Training and held-out rows of each fold."""
        return [
            (np.flatnonzero(self.fold != each), np.flatnonzero(self.fold == each))
            for each in range(self.k)
        ]

    def refolded(self, seed: int) -> Problem:
        """The same units on folds of another draw."""
        order = np.random.default_rng(seed).permutation(self.n)
        return replace(self, fold=order % self.k, nuisance={})


@dataclass(frozen=True, slots=True)
class Measured:
    """What a package found.

    Attributes
    ----------
    theta, se
        On our folds and predictions.
    thetas
        On folds and fits of its own, one a seed.
    seconds
        One such cross-fit, the median over seeds.
    memory
        Peak memory over that of the process with the data and the package loaded, MB.
    version
        The package's.
    """

    theta: float
    se: float
    thetas: tuple[float, ...]
    seconds: float
    memory: float
    version: str


def save(problem: Problem, path: Path) -> None:
    """Write a problem where another process reads it."""
    facts = {name: getattr(problem, name) for name in _FACTS}
    facts["categories"] = [[j, list(labels)] for j, labels in problem.categories.items()]
    arrays = {name: getattr(problem, name) for name in _ARRAYS}
    arrays |= {} if problem.z is None else {"z": problem.z}
    arrays |= {f"nuisance_{name}": values for name, values in problem.nuisance.items()}
    np.savez(path, facts=np.array(json.dumps(facts)), **arrays)


def load(path: Path) -> Problem:
    """Read a problem."""
    with np.load(path) as stored:
        facts = json.loads(str(stored["facts"]))
        nuisance = {
            name.removeprefix("nuisance_"): stored[name]
            for name in stored.files
            if name.startswith("nuisance_")
        }
        arrays = {name: stored[name] for name in (*_ARRAYS, "z") if name in stored.files}
    categories = {int(j): tuple(labels) for j, labels in facts.pop("categories")}
    return Problem(**facts, **arrays, categories=categories, nuisance=nuisance)


def as_json(found: Measured) -> str:
    """A result for the process that asked."""
    return json.dumps(asdict(found))


def from_json(text: str) -> Measured:
    """Read a result."""
    given = json.loads(text)
    return Measured(**given | {"thetas": tuple(given["thetas"])})
