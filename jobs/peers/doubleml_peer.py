"""DoubleML's counterparts: PLR, IRM, APO, PLIV and IIVM.

It has no effect on the untreated, which is minus the one on the treated with the arms swapped; and
none by overlap. Several treatments at once are another estimator there: each has the others among
its covariates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from jobs.peers.learners import learner_of
from jobs.peers.problem import Doubles, Pair, Problem

OFFERS = (
    "plr.slope", "irm.ate", "irm.att", "irm.atu", "apo.mean", "apo.ate", "pliv.slope", "iivm.late",
)  # fmt: skip


class DoubleML:
    """Each model of DoubleML that has a counterpart of ours."""

    def __init__(self) -> None:
        self.version = version("doubleml")

    def same(self, problem: Problem) -> Pair:
        """External predictions on our sample splitting."""
        return self._pair(problem, None)

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Its own splitting and cross-fitting."""
        return self._pair(problem, seed)

    def _pair(self, problem: Problem, seed: int | None) -> Pair:
        if problem.estimand == "atu":
            theta, se = self._pair(_swapped(problem), seed)
            return -theta, se
        if (problem.method, problem.estimand) == ("apo", "ate"):
            arm, control = (
                _fitted(each, seed).framework for each in (_arm(problem), _arm_of_control(problem))
            )
            found = arm - control
            return float(found.thetas[0]), float(found.ses[0])
        model = _fitted(problem, seed)
        return float(model.coef[0]), float(model.se[0])


def _swapped(problem: Problem) -> Problem:
    """The arms swapped: the untreated are the treated."""
    nuisance = {"m": 1.0 - problem.nuisance["m"], "g0": problem.nuisance["g1"]}
    return replace(problem, estimand="att", d=1.0 - problem.d, nuisance=nuisance)


def _arm(problem: Problem) -> Problem:
    """The mean of a contrast's first arm."""
    nuisance = {name: problem.nuisance[name] for name in ("m", "g1")}
    return replace(problem, estimand="mean", z=None, nuisance=nuisance)


def _arm_of_control(problem: Problem) -> Problem:
    """The mean of its control arm."""
    assert problem.z is not None  # noqa: S101  a contrast of arms has its control's indicator
    nuisance = {"m": problem.nuisance["m0"], "g1": problem.nuisance["g0"]}
    return replace(problem, estimand="mean", d=problem.z, z=None, nuisance=nuisance)


def _fitted(problem: Problem, seed: int | None) -> Any:
    """A model on our predictions and folds, or with a seed on its own."""
    if seed is not None:
        np.random.seed(seed)  # noqa: NPY002  DoubleML draws its folds from the global state
        model = _model(problem, seed)
        model.fit()
        return model
    model = _model(problem, None)
    model.set_sample_splitting([problem.splits()])
    model.fit(external_predictions={"d": _external(problem)})
    return model


def _external(problem: Problem) -> dict[str, Doubles]:
    """Our predictions by DoubleML's names; zeros where it asks for one that cancels."""
    nothing, of = np.zeros(problem.n), dict(problem.nuisance)
    if problem.method == "apo":
        of = {"m": of["m"], "g_d_lvl1": of["g1"], "g_d_lvl0": nothing}
    elif problem.method == "irm":
        of = {"g0": nothing, "g1": nothing} | of
    return {f"ml_{name}": values[:, None] for name, values in of.items()}


def _model(problem: Problem, seed: int | None) -> Any:
    import doubleml as dml
    from doubleml.utils import DMLDummyClassifier, DMLDummyRegressor, PSProcessorConfig

    if seed is None:
        binary = problem.method in ("irm", "apo", "iivm")
        learners: Mapping[str, Any] = {
            "outcome": DMLDummyRegressor(),
            "treatment": DMLDummyClassifier() if binary else DMLDummyRegressor(),
            "exposure": DMLDummyClassifier() if binary else DMLDummyRegressor(),
        }
    else:
        learners = {part: learner_of(problem, part, seed) for part in problem.kinds}
    data = dml.DoubleMLData.from_arrays(
        problem.x, problem.y, problem.d, force_all_x_finite="allow-nan",
        z=problem.z if problem.method in ("pliv", "iivm") else None,
    )  # fmt: skip
    outcome, treatment = learners["outcome"], learners["treatment"]
    same = {"n_folds": problem.k, "draw_sample_splitting": seed is not None}
    clipped = same | {"ps_processor_config": PSProcessorConfig(clipping_threshold=problem.clip)}
    match problem.method:
        case "plr":
            return dml.DoubleMLPLR(data, outcome, treatment, **same)
        case "pliv":
            return dml.DoubleMLPLIV(data, outcome, treatment, learners["exposure"], **same)
        case "iivm":
            return dml.DoubleMLIIVM(data, outcome, treatment, learners["exposure"], **clipped)
        case "apo":
            return dml.DoubleMLAPO(data, outcome, treatment, treatment_level=1, **clipped)
    score = "ATTE" if problem.estimand == "att" else "ATE"
    return dml.DoubleMLIRM(data, outcome, treatment, score=score, **clipped)
