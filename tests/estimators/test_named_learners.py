"""Learners of other packages: what reaches them, their seeds, and what is said where they fail."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import Lasso
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from threadpoolctl import threadpool_limits

from estimators.errors import NotEstimableError, PlatformError
from estimators.learners import Design, named, open_fold
from estimators.learners.linear import encoder
from tests.estimators.test_learners import data

FOREST = {"learner": "sklearn.ensemble.RandomForest", "n_estimators": 20}
NATIVE = {
    "sklearn": {"learner": "sklearn.ensemble.HistGradientBoosting", "max_iter": 20},
    "lightgbm": {"learner": "lightgbm.LGBM", "n_estimators": 20},
    "xgboost": {"learner": "xgboost.XGB", "n_estimators": 20},
}
ALL = {"forest": FOREST, "lasso": {"learner": "sklearn.linear_model.Lasso", "alpha": 0.1}, **NATIVE}


def fitted(spec, kind="continuous", seed=3, *, weighted=True, **changes) -> np.ndarray:
    design, train, test, weight, y = data(**changes)
    y = (y > 0).astype(float) if kind == "binary" else y
    weight = weight if weighted else np.ones(len(y))
    return open_fold(spec, design, train, test, weight).predict(y[train], kind, spec, seed)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_predictions_are_finite_and_repeat(name: str, kind: str) -> None:
    if name == "lasso" and kind == "binary":
        pytest.skip("a lasso has no classifier")
    found = fitted(ALL[name], kind)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0
    assert found.tobytes() == fitted(ALL[name], kind).tobytes()
    if kind == "binary":
        assert 0.0 <= found.min() <= found.max() <= 1.0


def test_it_is_the_packages_own_fit_on_the_encoding() -> None:
    design, train, test, weight, y = data()
    encode = encoder(design, train, weight[train])
    rows, held_out = encode(design.values[train]), encode(design.values[test])
    model = RandomForestRegressor(20, random_state=3).fit(
        rows, y[train], sample_weight=weight[train]
    )
    assert fitted(FOREST).tobytes() == model.predict(held_out).tobytes()
    d = (y > 0).astype(int)
    twin = RandomForestClassifier(20, random_state=3)
    twin.fit(rows, d[train], sample_weight=weight[train])
    assert fitted(FOREST, "binary").tobytes() == twin.predict_proba(held_out)[:, 1].tobytes()
    lasso = Lasso(alpha=0.1).fit(rows, y[train], sample_weight=weight[train])
    assert fitted(ALL["lasso"]) == pytest.approx(lasso.predict(held_out), rel=1e-12)


@pytest.mark.parametrize(
    "given", ["RandomForest", "RandomForestRegressor", "RandomForestClassifier"]
)
def test_one_name_is_both_twins(given: str) -> None:
    spec = FOREST | {"learner": f"sklearn.ensemble.{given}"}
    assert fitted(spec).tobytes() == fitted(FOREST).tobytes()
    assert fitted(spec, "binary").tobytes() == fitted(FOREST, "binary").tobytes()


def test_the_seed_is_the_studys() -> None:
    assert fitted(FOREST, seed=1).tobytes() != fitted(FOREST, seed=2).tobytes()


@pytest.mark.parametrize("name", ["forest", *NATIVE])
def test_threads_change_nothing(name: str) -> None:
    """Neither those allowed to the process, nor fits side by side."""
    alone = {seed: fitted(ALL[name], seed=seed, n=900, weighted=False).tobytes() for seed in (1, 2)}
    with threadpool_limits(2):
        assert fitted(ALL[name], seed=1, n=900, weighted=False).tobytes() == alone[1]
    with ThreadPoolExecutor(4) as pool:
        seeds = [1, 2] * 2
        found = list(
            pool.map(
                lambda seed: fitted(ALL[name], seed=seed, n=900, weighted=False).tobytes(), seeds
            )
        )
    assert found == [alone[seed] for seed in seeds]


@pytest.mark.parametrize("name", NATIVE)
def test_missing_values_and_categories_reach_who_takes_them(name: str) -> None:
    """One split parts {a, c} and the missing from {b, d}: no threshold on the codes can."""
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 4, 800).astype(float)
    y = np.where(np.isin(codes, (0, 2)), 1.0, -1.0)
    spec = NATIVE[name] | {"max_depth": 1, "learning_rate": 1.0}
    spec |= {"lightgbm": {"min_data_per_group": 1, "cat_smooth": 0.0, "cat_l2": 0.0}}.get(name, {})
    train, test = np.arange(600), np.arange(600, 800)

    def error(categories: dict[int, tuple[str, ...]]) -> float:
        design = Design(codes[:, None], ("x",), categories)
        once = spec | ({"max_iter": 1} if name == "sklearn" else {"n_estimators": 1})
        opened = open_fold(once, design, train, test, np.ones(800))
        return float(np.abs(opened.predict(y[train], "continuous", once, 0) - y[test]).max())

    assert error({0: ("a", "b", "c", "d")}) < 0.05
    assert error({}) > 0.3


@pytest.mark.parametrize("name", ["forest", *NATIVE])
def test_an_arm_without_events(name: str) -> None:
    design, train, test, weight, _ = data()
    opened = open_fold(ALL[name], design, train, test, weight)
    found = opened.predict(np.ones(len(train)), "binary", ALL[name], 0)
    assert found.tolist() == [1.0] * len(test)


def test_weights_that_a_learner_does_not_take_are_refused() -> None:
    spec = {"learner": "sklearn.neighbors.KNeighbors", "n_neighbors": 3}
    assert np.isfinite(fitted(spec, weighted=False)).all()
    with pytest.raises(NotEstimableError, match="takes no weights") as caught:
        fitted(spec)
    assert caught.value.code == "learner_failed"


def test_a_bad_value_is_a_named_error_with_the_packages_words() -> None:
    with pytest.raises(NotEstimableError, match="n_estimators") as caught:
        fitted(FOREST | {"n_estimators": -1})
    assert caught.value.code == "learner_failed"
    assert "parameters" in caught.value.remedy


def test_a_package_that_is_not_there_is_a_named_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)  # importing it now raises ImportError
    with pytest.raises(PlatformError, match=r"lightgbm\.LGBM") as caught:
        fitted(NATIVE["lightgbm"])
    assert caught.value.code == "no_library"
    assert "pip install lightgbm" in caught.value.remedy


def neighbours(kind: str, n_neighbors: int = 5) -> object:
    """A learner as a user's package would offer it."""
    made = KNeighborsClassifier if kind == "binary" else KNeighborsRegressor
    return made(n_neighbors=n_neighbors)


def test_an_entry_point_adds_a_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(
        "near", "tests.estimators.test_named_learners:neighbours", named.ENTRY_POINTS
    )
    monkeypatch.setattr(
        named, "entry_points", lambda **asked: EntryPoints((point,)).select(**asked)
    )
    spec = {"learner": "custom.near", "n_neighbors": 3}
    direct = {"learner": "sklearn.neighbors.KNeighbors", "n_neighbors": 3}
    for kind in ("continuous", "binary"):
        mine, theirs = (fitted(each, kind, weighted=False) for each in (spec, direct))
        assert mine.tobytes() == theirs.tobytes()
    with pytest.raises(PlatformError, match="no entry point 'far'"):
        fitted({"learner": "custom.far"})


def test_on_a_gpu_it_says_that_it_does_not_run_there() -> None:
    design, train, test, weight, _ = data()
    with pytest.raises(PlatformError, match="does not run on 'cuda'"):
        open_fold(FOREST, design, train, test, weight, device="cuda")
