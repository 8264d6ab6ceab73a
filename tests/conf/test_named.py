"""Learners named by path: judged from the packages' source, before anything is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from conf import installed, keys
from conf.keys import crossfit_inputs, numerics_label
from conf.load import parse_study
from conf.plan import effect_specs
from conf.rules import named
from conf.schema import SCHEMA_PATH
from tests.conf.conftest import SMALL

OURS = "{learner: xgboost, max_depth: 3}"
GOOD = {
    "fewer rows": "{learner: sklearn.ensemble.RandomForest, max_train_rows: 5000}",
    "a forest": "{learner: sklearn.ensemble.RandomForest, n_estimators: 200, bootstrap: false}",
    "one of the twins": "sklearn.ensemble.RandomForestRegressor",
    "no limit": "{learner: sklearn.ensemble.HistGradientBoosting, max_depth: null}",
    "LightGBM": "{learner: lightgbm.LGBM, num_leaves: 7, any_other_setting: 0.5}",
    "XGBoost's own": "{learner: xgboost.XGB, max_depth: 3, eta: 0.1}",
    "a regressor of a continuous outcome": "{learner: sklearn.linear_model.Lasso, alpha: 0.1}",
}
BAD = {
    "class": ("sklearn.ensemble.RandomForst", "RandomForst", "sklearn.ensemble.RandomForest"),
    "module": ("sklearn.ensembles.RandomForest", "ensembles", "sklearn.ensemble"),
    "no learner": ("sklearn.preprocessing.StandardScaler", "StandardScaler", None),
    "classifier only": ("sklearn.naive_bayes.GaussianNB", "for the continuous outcome", None),
    "parameter": (
        "{learner: sklearn.ensemble.RandomForest, n_estimator: 3}", "`n_estimator`", "n_estimators",
    ),
    "seed": ("{learner: sklearn.ensemble.RandomForest, random_state: 3}", "`random_state`", None),
    "threads": ("{learner: lightgbm.LGBM, n_jobs: 4}", "`n_jobs`", None),
    "a list": ("{learner: sklearn.ensemble.RandomForest, max_features: [1]}", "is a list", None),
    "an object": ("sklearn.ensemble.Stacking", "without its `estimators`", None),
    "rows": ("{learner: lightgbm.LGBM, max_train_rows: 3}", "`max_train_rows`", None),
    "a candidate's parameter": (
        "{learner: sklearn.ensemble.RandomForest, search: [{max_dept: 3}, {}]}", "`max_dept`",
        "max_depth",
    ),
    "no entry point": ("custom.mine", "'custom.mine'", None),
}  # fmt: skip


def _study(learner: str, *, of: str = OURS) -> str:
    assert of in SMALL
    return SMALL.replace(of, learner, 1)


def _parsed(learner: str):
    return parse_study(_study(learner), Path("shops.yaml"))


@pytest.mark.parametrize("learner", GOOD.values(), ids=GOOD)
def test_learners_of_installed_packages_are_allowed(learner: str) -> None:
    spec = effect_specs(_parsed(learner))[0].outcome_learner
    given = yaml.safe_load(learner)
    assert spec == (given if isinstance(given, dict) else {"learner": given})
    schema = Draft202012Validator(json.loads(SCHEMA_PATH.read_text()))
    schema.validate(yaml.safe_load(_study(learner)))


@pytest.mark.parametrize(("learner", "found", "nearest"), BAD.values(), ids=BAD)
def test_each_mistake_is_one_fault(learner, found, nearest, faults) -> None:
    (fault,) = faults(_study(learner))
    assert found in fault.found
    assert fault.nearest == nearest
    assert fault.allowed
    assert fault.where.line == SMALL[: SMALL.index(OURS)].count("\n") + 1


@pytest.mark.parametrize(
    "learner", ["sklearn.linear_model.Lasso", "sklearn.linear_model.Perceptron"]
)
def test_a_binary_target_needs_probabilities(learner: str, faults) -> None:
    (fault,) = faults(_study(f"treatment: {learner}", of="treatment: linear"))
    assert "for the binary treatment 'coupon'" in fault.found
    assert "predict_proba" in fault.allowed


def test_a_package_that_is_not_installed_is_named(monkeypatch, faults) -> None:
    found = installed.find_spec
    absent = {"lightgbm": None}
    monkeypatch.setattr(installed, "find_spec", lambda name: absent.get(name, name) and found(name))
    (fault,) = faults(_study("lightgbm.LGBM"))
    assert "not installed" in fault.found
    assert "pip install lightgbm" in fault.allowed


def test_an_entry_point_is_a_learner(monkeypatch, faults) -> None:
    monkeypatch.setattr(named, "custom_names", lambda: ("custom.mine",))
    assert _parsed("{learner: custom.mine, width: 3}").nuisances.outcome.learner == "custom.mine"
    (fault,) = faults(_study("custom.mime"))
    assert fault.nearest == "custom.mine"


def test_its_library_enters_the_key_and_the_label_only_where_it_is_used() -> None:
    plain, boosted = parse_study(SMALL, Path("shops.yaml")), _parsed("lightgbm.LGBM")
    assert "lightgbm" not in crossfit_inputs(plain, "", "cpu")["libraries"]
    assert crossfit_inputs(boosted, "", "cpu")["libraries"]["lightgbm"] == keys._version("lightgbm")
    assert numerics_label(plain) == numerics_label()
    assert numerics_label(boosted) == f"{numerics_label()},lightgbm={keys._version('lightgbm')}"
    forest = _parsed("sklearn.ensemble.RandomForest")
    assert numerics_label(forest) == numerics_label()  # scikit-learn is in every label


def test_nothing_is_imported() -> None:
    """In a process of its own: this one has them all."""
    program = (
        "import sys; from pathlib import Path; from conf.load import parse_study\n"
        "parse_study(sys.stdin.read(), Path('shops.yaml'))\n"
        "heavy = ('sklearn', 'numpy', 'xgboost', 'lightgbm')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=_study(GOOD["LightGBM"]), capture_output=True,
        text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
