"""Our own estimate of a problem: the scores and learners of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from estimators.learners import open_fold, seed_of
from estimators.scores import score
from jobs.peers.problem import Doubles, Pair, Problem

OFFERS = (
    "plr.slope", "irm.ate", "irm.att", "irm.atu", "irm.ato", "apo.mean", "apo.ate", "pliv.slope",
    "iivm.late",
)  # fmt: skip


class Causeway:
    """Our own scores and learners."""

    version = version("causeway")

    def same(self, problem: Problem) -> Pair:
        """From the predictions at hand."""
        return _solved(problem, problem.nuisance)

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Fit every nuisance once a fold, on folds of another draw."""
        other = problem.refolded(seed)
        return _solved(other, {name: _fitted(other, name, seed) for name in problem.nuisance})


@dataclass(frozen=True, slots=True)
class _Regression:
    """A nuisance: its target, the rows that it is fitted on, its kind and whose learner it has."""

    target: Doubles
    rows: NDArray[np.bool_]
    kind: str
    learner: str


def _regression(problem: Problem, name: str) -> _Regression:
    """A nuisance by its name in the paper, as `estimators.nuisances` has it."""
    every = np.ones(problem.n, dtype=np.bool_)
    arms = problem.method == "apo"
    if name == "m":
        return _Regression(problem.assigned, every, "treatment", "treatment")
    if name == "m0":
        return _Regression(_control(problem), every, "treatment", "treatment")
    if name in ("l", "r"):
        rows = every
    elif arms and name == "g0":
        rows = _control(problem) == 1
    else:
        rows = problem.assigned == int(name[1])
    if name.startswith("r"):
        return _Regression(problem.d, rows, "exposure", "treatment")
    return _Regression(problem.y, rows, "outcome", "outcome")


def _control(problem: Problem) -> Doubles:
    assert problem.z is not None  # noqa: S101  a contrast of arms has its control's indicator
    return problem.z


def _fitted(problem: Problem, name: str, seed: int) -> Doubles:
    of = _regression(problem, name)
    values, spec = np.empty(problem.n), problem.learners[of.learner]
    for fold, (train, test) in enumerate(problem.splits()):
        rows, ones = train[of.rows[train]], np.ones(problem.n)
        opened = open_fold(spec, problem.design, rows, test, ones, threads=problem.threads)
        seeded = seed_of(seed, fold, name)
        values[test] = opened.predict(of.target[rows], problem.kinds[of.kind], spec, seeded)
    return values


def _solved(problem: Problem, nuisance: Mapping[str, Doubles]) -> Pair:
    clip = 0.0 if problem.estimand == "ato" else problem.clip
    clipped = ("m", "m0") if problem.method in ("irm", "apo", "iivm") else ()
    used = {
        name: np.clip(values, clip, 1.0 - clip) if name in clipped else values
        for name, values in nuisance.items()
    }
    a, b = score(problem, problem.y, problem.d, used, problem.z)
    theta = -b.sum() / a.sum()
    return float(theta), float(np.sqrt(((a * theta + b) ** 2).sum()) / abs(a.sum()))
