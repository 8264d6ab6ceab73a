"""Learners: bits that must repeat, what reaches them, and figures by hand."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xgboost as xgb
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_info, threadpool_limits

from estimators.blas import one_blas_thread
from estimators.catalog import LEARNERS
from estimators.cuda import cuda_devices
from estimators.errors import PlatformError
from estimators.learners import (
    Design,
    open_fold,
    seed_of,
    shares_matrix,
)
from tests.estimators.samples import BOOSTED, CONSTANT, LINEAR

SPLINE = {"learner": "spline", "segments": 4}
SPECS = {"xgboost": BOOSTED, "linear": LINEAR, "spline": SPLINE, "constant": CONSTANT}


def data(seed: int = 0, n: int = 400, p: int = 5):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    x[:, 2] = rng.integers(0, 4, n)
    x[rng.random((n, p)) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) * 1.3 + (x[:, 2] == 1) + rng.standard_normal(n) * 0.7
    design = Design(x, tuple(f"x{j}" for j in range(p)), {2: ("a", "b", "c", "d")})
    train, test = np.arange(n * 3 // 4), np.arange(n * 3 // 4, n)
    return design, train, test, rng.uniform(0.2, 3.0, n), y


def test_every_learner_of_the_catalogue_is_tested_here() -> None:
    assert SPECS.keys() == {name for name, each in LEARNERS.items() if not each.sums}
    for name, spec in SPECS.items():
        known = LEARNERS[name].parameters
        needed = {key for key, each in known.items() if each.default is not None}
        assert needed <= spec.keys() - {"learner"} <= known.keys()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_predictions_are_finite_doubles_for_the_held_out_rows(name: str, kind: str) -> None:
    design, train, test, weight, y = data()
    y = (y > 0).astype(float) if kind == "binary" else y
    found = open_fold(SPECS[name], design, train, test, weight).predict(y[train], kind,
                                                                        SPECS[name], 3)  # fmt: skip
    assert found.shape == test.shape
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    if kind == "binary":
        assert 0.0 <= found.min() <= found.max() <= 1.0


# --- XGBoost ---------------------------------------------------------------------------------


def test_swapped_labels_are_a_fresh_build() -> None:
    """Targets share a binned matrix: each is what it would be alone, byte for byte."""
    design, train, test, weight, y = data()
    targets = [(y[train], "continuous"), ((y[train] > 0.3).astype(float), "binary"),
               (y[train] ** 2, "continuous"), (y[train], "continuous")]  # fmt: skip
    shared = open_fold(BOOSTED, design, train, test, weight)
    for values, kind in targets:
        alone = open_fold(BOOSTED, design, train, test, weight).predict(values, kind, BOOSTED, 5)
        assert shared.predict(values, kind, BOOSTED, 5).tobytes() == alone.tobytes()


def test_boosting_is_plain_xgboost() -> None:
    """The same training through xgboost's own front door, base score and all."""
    design, train, test, weight, y = data()
    ours = open_fold(BOOSTED, design, train, test, weight).predict(y[train], "continuous",
                                                                   BOOSTED, 5)  # fmt: skip
    settings = {key: value for key, value in BOOSTED.items() if key != "learner"}
    model = xgb.XGBRegressor(
        **settings, tree_method="hist", n_jobs=1, random_state=5, enable_categorical=True,
        base_score=float(np.average(y[train], weights=weight[train])),
        feature_types=design.feature_types,
    )  # fmt: skip
    model.fit(design.values[train], y[train], sample_weight=weight[train])
    assert ours == pytest.approx(model.predict(design.values[test]), abs=1e-6)


@pytest.mark.parametrize(
    ("shift", "factor"),
    [(0.0, 1e-5), (0.0, 2.0**-70), (0.0, 1e150), (1e9, 1.0), (-7e12, 1e4), (1e-3, 1e-6)],
)
def test_the_unit_and_the_zero_of_a_label_do_not_matter(shift: float, factor: float) -> None:
    """In float32 an offset of 1e9 would leave steps of 64; gains below 1e-6 would be no splits."""
    design, train, test, weight, y = data()
    spec = BOOSTED | {"n_estimators": 40}
    found, rounds = [], []
    for values in (y, shift + factor * y):
        opened = open_fold(spec, design, train, test, weight)
        found.append(opened.predict(values[train], "continuous", spec, 5))
        stopped = opened.stopped(values[train], "continuous", spec, 5, values[test], patience=3)
        rounds.append(stopped[0]["n_estimators"])
        found.append(stopped[1])
    assert rounds[0] == rounds[1] < 40
    for plain, moved in (found[::2], found[1::2]):
        assert (moved - shift) / factor == pytest.approx(plain, abs=2e-3 * y.std())


@pytest.mark.parametrize("penalty", ["gamma", "reg_alpha"])
def test_a_penalty_in_the_labels_unit_keeps_it(penalty: str) -> None:
    design, train, test, weight, y = data()
    spec = BOOSTED | {penalty: 0.5}
    opened = open_fold(spec, design, train, test, weight)
    found = opened.predict(1e-4 * y[train], "continuous", spec, 5)
    assert np.ptp(found) < 1e-9, "the penalty is larger than any gain"
    moved = opened.predict(1e-4 * y[train] + 100.0, "continuous", spec, 5)
    assert moved - 100.0 == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_thread_count_changes_nothing(subsample: float) -> None:
    """Enough rows for several blocks of rows a thread, and sums that are not exact."""
    design, train, test, weight, y = data(n=20_000, p=8)
    spec = BOOSTED | {"subsample": subsample, "colsample_bytree": subsample, "n_estimators": 10}
    found = {
        open_fold(spec, design, train, test, weight, threads=threads)
        .predict(y[train], "continuous", spec, 9)
        .tobytes()
        for threads in (1, 2, 3)
    }
    assert len(found) == 1


def test_the_seed_matters_only_where_something_is_drawn() -> None:
    design, train, test, weight, y = data()
    drawn = BOOSTED | {"subsample": 0.5}
    for spec, same in ((BOOSTED, True), (drawn, False)):
        opened = open_fold(spec, design, train, test, weight)
        one, two = (opened.predict(y[train], "continuous", spec, seed) for seed in (1, 2))
        assert np.array_equal(one, two) is same


def test_missing_values_reach_the_trees() -> None:
    """Y depends on *whether* x is missing; a filled value could not tell."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600, 1))
    gone = rng.random(600) < 0.4
    x[gone] = np.nan
    y = np.where(gone, 3.0, -3.0)
    design = Design(x, ("x",), {})
    train, test = np.arange(400), np.arange(400, 600)
    spec = BOOSTED | {"n_estimators": 60}
    found = open_fold(spec, design, train, test, np.ones(600)).predict(y[train], "continuous",
                                                                       spec, 0)  # fmt: skip
    assert np.abs(found - y[test]).max() < 0.1
    flagged = open_fold(LINEAR, design, train, test, np.ones(600))
    assert np.abs(flagged.predict(y[train], "continuous", LINEAR, 0) - y[test]).max() < 0.2


def test_categories_reach_the_trees_as_such() -> None:
    """One split parts {a, c} from {b, d}: no threshold on the codes can."""
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 4, 800).astype(float)
    y = np.where(np.isin(codes, (0, 2)), 1.0, -1.0)
    train, test = np.arange(600), np.arange(600, 800)
    spec = BOOSTED | {"max_depth": 1, "n_estimators": 1, "learning_rate": 1.0, "reg_lambda": 0.0}

    def error(categories: dict[int, tuple[str, ...]]) -> float:
        design = Design(codes[:, None], ("x",), categories)
        opened = open_fold(spec, design, train, test, np.ones(800))
        return float(np.abs(opened.predict(y[train], "continuous", spec, 0) - y[test]).max())

    assert error({0: ("a", "b", "c", "d")}) < 1e-6
    assert error({}) > 0.5


def test_a_category_unseen_in_training_is_predicted() -> None:
    codes = np.array([0.0, 1.0] * 100 + [2.0, np.nan])
    design = Design(codes[:, None], ("x",), {0: ("a", "b", "c")})
    y = codes[:200] * 2.0
    for spec in (BOOSTED, LINEAR):
        found = open_fold(spec, design, np.arange(200), np.array([200, 201]), np.ones(202))
        assert np.isfinite(found.predict(y, "continuous", spec, 0)).all()


@pytest.mark.parametrize("name", SPECS)
def test_weights_reach_the_learner(name: str) -> None:
    """Rows of weight next to nothing teach next to nothing."""
    design, train, test, _, y = data()
    heavy = np.arange(len(y)) % 2 == 0
    lied = np.where(heavy, y, y + 100.0)
    weight = np.where(heavy, 1.0, 1e-9)
    opened = open_fold(SPECS[name], design, train, test, weight)
    found = opened.predict(lied[train], "continuous", SPECS[name], 0)
    assert np.abs(found).max() < 20


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_arm_without_events(name: str, value: float) -> None:
    """All outcomes alike: a probability at the edge, finite, and no complaint."""
    design, train, test, weight, _ = data()
    same = np.full(len(train), value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_fold(SPECS[name], design, train, test, weight).predict(
            same, "binary", SPECS[name], 0
        )
    assert np.abs(found - value).max() < 1e-3
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_the_learner_leaves_its_inputs_alone() -> None:
    design, train, test, weight, y = data()
    before = design.values.tobytes(), weight.tobytes(), y.tobytes()
    for spec in SPECS.values():
        open_fold(spec, design, train, test, weight).predict(y[train], "continuous", spec, 0)
    assert (design.values.tobytes(), weight.tobytes(), y.tobytes()) == before


# --- linear ------------------------------------------------------------------------------------


def by_hand(design: Design, train, rows, weight) -> np.ndarray:
    """Weighted standardisation, missing-value flags where training has any, one-hots."""
    numbers = [0, 1, 3, 4]
    columns = []
    for j in numbers:
        column = design.values[:, j]
        seen = train[~np.isnan(column[train])]
        mean = np.average(column[seen], weights=weight[seen])
        sd = np.sqrt(np.average((column[seen] - mean) ** 2, weights=weight[seen]))
        columns.append(np.nan_to_num((column[rows] - mean) / sd))
    columns += [np.isnan(design.values[rows, j]) for j in numbers]
    columns += [design.values[rows, 2] == code for code in range(4)]
    return np.column_stack(columns).astype(float)


def test_linear_is_ridge_on_the_encoding() -> None:
    design, train, test, weight, y = data()
    spec = LINEAR | {"penalty": 2.5}
    ours = open_fold(spec, design, train, test, weight).predict(y[train], "continuous", spec, 0)
    model = Ridge(alpha=2.5).fit(by_hand(design, train, train, weight), y[train],
                                 sample_weight=weight[train])  # fmt: skip
    assert ours == pytest.approx(model.predict(by_hand(design, train, test, weight)), rel=1e-9)


def test_linear_is_logistic_for_a_binary_target() -> None:
    design, train, test, weight, y = data()
    d = (y > 0.2).astype(float)
    spec = LINEAR | {"penalty": 2.5}
    ours = open_fold(spec, design, train, test, weight).predict(d[train], "binary", spec, 0)
    model = LogisticRegression(C=1 / 2.5, tol=1e-12, max_iter=5_000).fit(
        by_hand(design, train, train, weight), d[train], sample_weight=weight[train]
    )
    expected = model.predict_proba(by_hand(design, train, test, weight))[:, 1]
    assert ours == pytest.approx(expected, abs=1e-7)


def test_ridge_without_penalty_is_least_squares() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((300, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 4.0
    spec = LINEAR | {"penalty": 0.0}
    opened = open_fold(
        spec, Design(x, ("a", "b", "c"), {}), np.arange(200), np.arange(200, 300), np.ones(300)
    )
    assert opened.predict(y[:200], "continuous", spec, 0) == pytest.approx(y[200:], rel=1e-9)


def test_linear_encoding_learns_from_the_training_rows_only() -> None:
    design, train, test, weight, _ = data()
    other = design.values.copy()
    other[test] = other[test] * 3.0 + 1.0
    one = open_fold(LINEAR, design, train, test, weight)
    two = open_fold(LINEAR, Design(other, design.names, design.categories), train, test, weight)
    assert np.array_equal(one.train, two.train)


def test_a_constant_covariate_is_no_trouble() -> None:
    design, train, test, weight, y = data()
    values = design.values.copy()
    values[:, 0] = 3.7
    values[:, 1] = np.nan
    flat = Design(values, design.names, design.categories)
    for spec in SPECS.values():
        found = open_fold(spec, flat, train, test, weight).predict(y[train], "continuous", spec, 0)
        assert np.isfinite(found).all()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one BLAS thread")
def test_blas_threads_change_nothing() -> None:
    """On so many rows a product with two threads rounds differently: the learner allows one."""
    rng = np.random.default_rng(4)
    n = 160_000
    x = rng.standard_normal((n, 20))
    y = x[:, 0] * 1.3 + rng.standard_normal(n)
    design = Design(x, tuple(f"x{j}" for j in range(20)), {})
    train, test = np.arange(n - 1_000), np.arange(n - 1_000, n)
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            opened = open_fold(LINEAR, design, train, test, np.ones(n))
            found.add(opened.predict(y[train], "continuous", LINEAR, 0).tobytes())
    assert len(found) == 1


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_the_blas_limit_holds_until_the_last_holder_leaves() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_linear_fits_side_by_side_in_threads() -> None:
    design, train, test, weight, y = data()

    def one(seed: int) -> bytes:
        opened = open_fold(LINEAR, design, train, test, weight)
        return opened.predict(y[train] * (1 + seed % 2), "continuous", LINEAR, seed).tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, range(16)))
    assert found == [one(seed) for seed in range(16)]


# --- constant, seeds, devices --------------------------------------------------------------------


def test_constant_is_the_weighted_mean() -> None:
    design, train, test, weight, y = data()
    found = open_fold(CONSTANT, design, train, test, weight).predict(y[train], "continuous",
                                                                     CONSTANT, 0)  # fmt: skip
    mean = (weight[train] * y[train]).sum() / weight[train].sum()
    assert found == pytest.approx(np.full(len(test), mean), rel=1e-14)


def test_seeds_come_from_names() -> None:
    assert seed_of("", 0, 1, "dep_delay|rain=1") == 1213131516
    assert seed_of("a", 1) != seed_of("a", 2)
    assert seed_of("a", 11) != seed_of("a1", 1)
    drawn = [
        seed_of("s", rep, fold, name) for rep in range(9) for fold in range(9) for name in "lm"
    ]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= seed < 2**31 for seed in drawn)


def test_targets_share_a_matrix_by_learner_and_bins() -> None:
    assert shares_matrix(BOOSTED) == shares_matrix(BOOSTED | {"max_depth": 9})
    assert shares_matrix(BOOSTED) != shares_matrix(BOOSTED | {"max_bin": 32})
    assert shares_matrix(BOOSTED) != shares_matrix(LINEAR)


@pytest.mark.parametrize("name", [name for name in SPECS if "cuda" not in LEARNERS[name].devices])
def test_a_learner_that_does_not_run_on_a_device_says_so(name: str) -> None:
    design, train, test, weight, _ = data()
    with pytest.raises(PlatformError, match="does not run on 'cuda'") as caught:
        open_fold(SPECS[name], design, train, test, weight, device="cuda")
    assert caught.value.code == "device"
    assert caught.value.exit_code == 6


def test_cuda_without_a_gpu_is_an_error() -> None:
    """No silent fall back: XGBoost itself would only warn, and train on the CPU."""
    if cuda_devices():
        pytest.skip("a CUDA device is there")
    design, train, test, weight, _ = data()
    with pytest.raises(PlatformError, match="no CUDA device is there") as caught:
        open_fold(BOOSTED, design, train, test, weight, device="cuda")
    assert caught.value.code == "no_gpu"
    assert "device: cpu" in caught.value.remedy


@pytest.mark.gpu
@pytest.mark.skipif(cuda_devices() == 0, reason="no CUDA device is there")
def test_cuda_agrees_with_the_cpu() -> None:
    design, train, test, weight, y = data(n=5_000)
    cpu, cuda = (
        open_fold(BOOSTED, design, train, test, weight, device=device).predict(
            y[train], "continuous", BOOSTED, 0
        )
        for device in ("cpu", "cuda")
    )
    assert np.corrcoef(cpu, cuda)[0, 1] > 0.99
