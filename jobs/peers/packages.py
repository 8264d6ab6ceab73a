"""The same effect in each package: on our folds and predictions, and on folds of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from estimators.learners import open_fold, seed_of
from estimators.scores import irm_ate, irm_att, plr
from jobs.peers.learners import Looked, LookedProbability, OurClassifier, OurRegressor
from jobs.peers.problem import Problem

Doubles = NDArray[np.float64]
Pair = tuple[float, float]


class Package(Protocol):
    """How an effect is had: theta and its unclustered standard error."""

    version: str

    def same(self, problem: Problem) -> Pair:
        """On our folds and predictions."""

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Cross-fitted by the package itself, with the same learners."""


OFFERS: dict[str, tuple[str, ...]] = {
    "causeway": ("plr.slope", "irm.ate", "irm.att"),
    "doubleml": ("plr.slope", "irm.ate", "irm.att"),
    "econml": ("plr.slope", "irm.ate"),
}
"""Which effects have a counterpart in which package."""


class Causeway:
    """Our own scores and learners."""

    version = version("causeway")

    def same(self, problem: Problem) -> Pair:
        """From the predictions at hand."""
        return _solved(problem, problem.nuisance)

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Fit every nuisance once a fold, on folds of another draw."""
        other = problem.refolded(seed)
        return _solved(other, _nuisances(other, seed))


def _nuisances(problem: Problem, seed: int) -> dict[str, Doubles]:
    names = {"plr.slope": ("m", "l"), "irm.ate": ("m", "g0", "g1"), "irm.att": ("m", "g0")}
    found = {}
    ones = np.ones(problem.n)
    for name in names[f"{problem.method}.{problem.estimand}"]:
        part = "treatment" if name == "m" else "outcome"
        target = problem.d if name == "m" else problem.y
        values, spec = np.empty(problem.n), problem.learners[part]
        for fold, (train, test) in enumerate(problem.splits()):
            rows = train[problem.d[train] == int(name[1])] if name in ("g0", "g1") else train
            opened = open_fold(spec, problem.design, rows, test, ones, threads=problem.threads)
            values[test] = opened.predict(
                target[rows],
                problem.kinds[part],
                spec,
                seed_of(seed, fold, name),
            )
        found[name] = values
    return found


def _solved(problem: Problem, nuisance: Any) -> Pair:
    y, d = problem.y, problem.d
    m = np.clip(nuisance["m"], problem.clip, 1.0 - problem.clip)
    match problem.method, problem.estimand:
        case "plr", _:
            a, b = plr(y, d, nuisance["l"], nuisance["m"])
        case _, "att":
            a, b = irm_att(y, d, nuisance["g0"], m)
        case _:
            a, b = irm_ate(y, d, nuisance["g0"], nuisance["g1"], m)
    theta = -b.sum() / a.sum()
    return float(theta), float(np.sqrt(((a * theta + b) ** 2).sum()) / abs(a.sum()))


def _learner(problem: Problem, part: str, seed: int) -> OurRegressor:
    given = (
        problem.learners[part], tuple(problem.categories.items()), problem.threads,
        seed_of(seed, part),
    )  # fmt: skip
    return OurClassifier(*given) if problem.kinds[part] == "binary" else OurRegressor(*given)


class DoubleML:
    """DoubleMLPLR and DoubleMLIRM."""

    def __init__(self) -> None:
        self.version = version("doubleml")

    def same(self, problem: Problem) -> Pair:
        """External predictions on our sample splitting."""
        from doubleml.utils import DMLDummyClassifier, DMLDummyRegressor

        model = self._model(problem, DMLDummyRegressor(), DMLDummyClassifier(), own=False)
        model.set_sample_splitting([problem.splits()])
        external = {f"ml_{name}": each[:, None] for name, each in problem.nuisance.items()}
        if problem.method == "irm":
            external.setdefault("ml_g1", np.zeros((problem.n, 1)))  # the ATT needs none
        model.fit(external_predictions={"d": external})
        return float(model.coef[0]), float(model.se[0])

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Its own splitting and cross-fitting."""
        np.random.seed(seed)  # noqa: NPY002  DoubleML draws its folds from the global state
        outcome, treatment = (_learner(problem, part, seed) for part in ("outcome", "treatment"))
        model = self._model(problem, outcome, treatment, own=True)
        model.fit()
        return float(model.coef[0]), float(model.se[0])

    @staticmethod
    def _model(problem: Problem, outcome: Any, treatment: Any, *, own: bool) -> Any:
        import doubleml as dml
        from doubleml.utils import PSProcessorConfig

        data = dml.DoubleMLData.from_arrays(
            problem.x, problem.y, problem.d, force_all_x_finite="allow-nan"
        )
        same = {"n_folds": problem.k, "draw_sample_splitting": own}
        if problem.method == "plr":
            return dml.DoubleMLPLR(data, outcome, treatment, **same)
        clip = PSProcessorConfig(clipping_threshold=problem.clip)
        score = "ATTE" if problem.estimand == "att" else "ATE"
        return dml.DoubleMLIRM(
            data, outcome, treatment, score=score, ps_processor_config=clip, **same
        )


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
        outcome, treatment = (_learner(problem, part, seed) for part in ("outcome", "treatment"))
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


PACKAGES: dict[str, Callable[[], Package]] = {
    "causeway": Causeway,
    "doubleml": DoubleML,
    "econml": EconML,
}
