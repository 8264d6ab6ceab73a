"""EconML's counterparts: LinearDML and LinearDRLearner without features."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from jobs.peers.learners import Looked, LookedProbability, OurClassifier, OurRegressor, learner_of
from jobs.peers.problem import Pair, Problem

OFFERS = ("plr.slope", "irm.ate")


def _folds(problem: Problem, learner: Any) -> Any:
    """Ours for predictions that are looked up, the package's own for learners."""
    return problem.k if isinstance(learner, OurRegressor) else problem.splits()


class EconML:
    """LinearDML and LinearDRLearner without features: a constant effect."""

    def __init__(self) -> None:
        self.version = version("econml")

    def same(self, problem: Problem) -> Pair:
        """Models that look our predictions up by the row's number."""
        rows = np.arange(problem.n, dtype=np.float64)[:, None]
        given = problem.nuisance
        if problem.method == "plr":
            first = Looked(given["l"][:, None])
            return self._dml(problem, first, Looked(given["m"][:, None]), rows)
        arms = np.stack([given["g0"], given["g1"]], axis=1)
        return self._dr(problem, Looked(arms), LookedProbability(given["m"]), rows)

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Its own splitting and cross-fitting; its outcome model has the treatment as a column."""
        outcome, treatment = (learner_of(problem, part, seed) for part in ("outcome", "treatment"))
        if problem.method == "plr":
            return self._dml(problem, outcome, treatment, problem.x, seed)
        return self._dr(problem, outcome, treatment, problem.x, seed)

    @staticmethod
    def _dml(problem: Problem, first: Any, second: Any, w: Any, seed: int = 0) -> Pair:
        from econml.dml import LinearDML
        from econml.inference import StatsModelsInference

        model = LinearDML(
            model_y=first, model_t=second, cv=_folds(problem, first), random_state=seed,
            allow_missing=True,
            discrete_treatment=isinstance(second, OurClassifier),
            discrete_outcome=isinstance(first, OurClassifier),
        )  # fmt: skip
        model.fit(problem.y, problem.d, W=w, inference=StatsModelsInference(cov_type="HC0"))
        se = model.intercept__inference().stderr
        return float(np.ravel(model.intercept_)[0]), float(np.ravel(se)[0])

    @staticmethod
    def _dr(problem: Problem, first: Any, second: Any, w: Any, seed: int = 0) -> Pair:
        from econml.dr import LinearDRLearner
        from econml.inference import StatsModelsInferenceDiscrete

        model = LinearDRLearner(
            model_regression=first, model_propensity=second, min_propensity=problem.clip,
            cv=_folds(problem, first), random_state=seed, allow_missing=True,
            discrete_outcome=isinstance(first, OurClassifier),
        )  # fmt: skip
        inference = StatsModelsInferenceDiscrete(cov_type="HC0")
        model.fit(problem.y, problem.d, W=w, inference=inference)
        se = model.intercept__inference(T=1).stderr
        return float(np.ravel(model.intercept_(T=1))[0]), float(np.ravel(se)[0])
