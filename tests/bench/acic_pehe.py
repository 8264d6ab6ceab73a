"""Root PEHE of the five meta-learners on ACIC 2016 no. 1, ours beside EconML's.

``python -m tests.bench.acic_pehe`` writes ``acic_pehe.csv``: effects out of fold by five folds,
ours from shared nuisances, EconML's classes fitted on the other folds with the same learner; beside
the best constant and no effect. Over all units, of whom 47 % are never treated (there any learner
extrapolates), and over those whose propensity is above 0.01.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np

from estimators.catalog import META_LEARNERS
from estimators.meta import CateData, Final, cate
from jobs.peers.learners import OurClassifier, OurRegressor
from tests.bench.gram_world import Table
from tests.estimators.published import acic
from tests.estimators.samples import BOOSTED, effect, nuisances

LEARNER = BOOSTED | {"n_estimators": 200, "max_bin": 256}
CLIP = 0.01


def ours(units: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Our conditional effects by learner, and the propensities."""
    learners = {"outcome_learner": LEARNER, "treatment_learner": LEARNER}
    named = nuisances(units, effect("irm", "ate", **learners), effect(**learners))
    y, d, fold = units.outcomes["y"], units.treatments["d"], units.fold[:, 0]
    data = CateData(units.design, y, d, units.weight, fold, clip=CLIP, **named)
    return cate(data, META_LEARNERS, Final(LEARNER)), named["m"]


def econml(units: Any, name: str) -> np.ndarray:
    """EconML's class on each fold's other units, with its defaults and our learner."""
    from econml.dml import NonParamDML
    from econml.dr import DRLearner
    from econml.metalearners import SLearner, TLearner, XLearner

    categories = tuple(units.design.categories.items())

    def regressor() -> OurRegressor:
        return OurRegressor(LEARNER, categories)

    def classifier() -> OurClassifier:
        return OurClassifier(LEARNER, categories)

    makers = {
        "s": lambda: SLearner(overall_model=regressor()),
        "t": lambda: TLearner(models=regressor()),
        "x": lambda: XLearner(
            models=regressor(), cate_models=regressor(), propensity_model=classifier()
        ),
        "r": lambda: NonParamDML(
            model_y=regressor(), model_t=classifier(), model_final=regressor(),
            discrete_treatment=True, random_state=0,
        ),
        "dr": lambda: DRLearner(
            model_regression=regressor(), model_propensity=classifier(), model_final=regressor(),
            min_propensity=CLIP, random_state=0,
        ),
    }  # fmt: skip
    x, y, d = units.design.values, units.outcomes["y"], units.treatments["d"]
    tau, fold = np.empty(units.n), units.fold[:, 0]
    for held_out in np.unique(fold):
        train, test = fold != held_out, fold == held_out
        model = makers[name]()
        model.fit(y[train], d[train], X=x[train])
        tau[test] = np.ravel(model.effect(x[test]))
    return tau


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", default=",".join(META_LEARNERS))
    names = parser.parse_args().learners.split(",")
    units, truth = acic()
    found, m = ours(units)
    inside, table = m >= CLIP, Table()

    def add(name: str, tau: np.ndarray) -> None:
        error = (tau - truth) ** 2
        table.add(f"root_pehe_{name}", units.n, float(np.sqrt(error.mean())), "", "all units")
        some = float(np.sqrt(error[inside].mean()))
        table.add(f"root_pehe_{name}_overlap", int(inside.sum()), some, "", "propensity >= 0.01")

    for name in names:
        add(f"{name}_causeway", found[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EconML's own
            theirs = econml(units, name)
        add(f"{name}_econml", theirs)
    add("constant", np.full(units.n, truth.mean()))
    add("zero", np.zeros(units.n))
    table.write("acic_pehe.csv", "python -m tests.bench.acic_pehe")


if __name__ == "__main__":
    main()
