import numpy as np
import pytest

from estimators.debias.ppi import best_lam, ppi_ate, ppi_ate_by_arm, ppi_mean, sums
from estimators.debias.ppi_ols import ppi_ols
from estimators.errors import NotEstimableError

Z = 1.6448536269514722  # ppi_py's default interval is 90 %
N, M = 300, 2_500


def _rows(seed: int, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    y = generator.standard_normal(N) + 1.0
    f = 0.6 * y + 0.5 * generator.standard_normal(N) + shift
    other = 0.6 * (generator.standard_normal(M) + 1.0) + 0.5 * generator.standard_normal(M) + shift
    return y, f, other


def _oracle(*args: object, **kwargs: object) -> tuple[float, float]:
    import ppi_py

    point = float(np.squeeze(ppi_py.ppi_mean_pointestimate(*args, **kwargs)))
    low, high = ppi_py.ppi_mean_ci(*args, **kwargs)
    return point, float(np.squeeze(high - low)) / (2.0 * Z)


@pytest.mark.parametrize("lam", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_mean_parity_with_ppi_py(lam: float | None, shift: float) -> None:
    y, f, other = _rows(1, shift)
    theta, se = _oracle(y, f, other, lam=lam)
    found = ppi_mean(sums(y, f), sums(other), lam)
    assert found.theta == pytest.approx(theta, abs=1e-9)
    assert found.se == pytest.approx(se, abs=1e-9)


def test_lam_is_clipped_to_the_unit_interval() -> None:
    y, f, other = _rows(2)
    assert best_lam(sums(y, -f), sums(-other)) == 0.0
    assert best_lam(sums(y, 0.1 * f), sums(0.1 * other)) == 1.0
    theta, _ = _oracle(y, -f, -other)
    assert ppi_mean(sums(y, -f), sums(-other)).theta == pytest.approx(theta, abs=1e-9)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_weighted_mean_parity_with_ppi_py(lam: float) -> None:
    y, f, other = _rows(3)
    generator = np.random.default_rng(4)
    w, v = generator.random(N) + 0.2, generator.random(M) + 0.2
    theta, _ = _oracle(y, f, other, lam=lam, w=w, w_unlabeled=v)
    found = ppi_mean(sums(y, f, weight=w), sums(other, weight=v), lam)
    assert found.theta == pytest.approx(theta, abs=1e-9)


def test_our_weighted_error_does_not_move_with_the_origin() -> None:
    # ppi_py takes sd(w Y), which grows with the mean of Y; ours is of w (Y - weighted mean).
    y, f, other = _rows(5)
    generator = np.random.default_rng(6)
    w, v = generator.random(N) + 0.2, generator.random(M) + 0.2
    near = ppi_mean(sums(y, f, weight=w), sums(other, weight=v), 1.0)
    far = ppi_mean(sums(y + 10.0, f, weight=w), sums(other, weight=v), 1.0)
    assert far.theta - near.theta == pytest.approx(10.0)
    assert far.se == pytest.approx(near.se, rel=1e-9)
    theirs = [_oracle(each, f, other, lam=1.0, w=w, w_unlabeled=v)[1] for each in (y, y + 10.0)]
    assert theirs[1] > 3.0 * theirs[0]


def test_our_weighted_error_covers() -> None:
    generator = np.random.default_rng(7)
    found = []
    for _ in range(400):
        x, x_other = generator.standard_normal(N), generator.standard_normal(M)
        w, v = np.exp(0.5 * x), np.exp(0.5 * x_other)
        y = 10.0 + x + generator.standard_normal(N)
        f, other = 10.0 + 0.8 * x, 10.0 + 0.8 * x_other
        found.append(ppi_mean(sums(y, f, weight=w), sums(other, weight=v)))
    theta = np.array([each.theta for each in found])
    # 400 repetitions know a spread to 3.5 %.
    assert np.mean([each.se for each in found]) == pytest.approx(theta.std(), rel=0.12)
    assert theta.mean() == pytest.approx(10.5, abs=0.03)


def test_a_shift_is_rectified_exactly() -> None:
    y = np.random.default_rng(8).standard_normal(100)
    unlabelled = sums(np.full(10_000, 2.0))
    for lam in (1.0, None):
        found = ppi_mean(sums(y, y + 2.0), unlabelled, lam)
        assert found.theta == pytest.approx(0.0, abs=1e-12)
        assert found.lam == 1.0


def test_sums_add_over_batches() -> None:
    y, f, other = _rows(9)
    whole = sums(y, f)
    parts = sums(y[:17], f[:17]) + sums(y[17:], f[17:])
    assert parts.n == whole.n
    assert np.allclose(parts.covariance(), whole.covariance(), rtol=1e-12)
    assert np.allclose(parts.means, whole.means, rtol=1e-12)
    assert np.allclose(parts.second, parts.second.T)
    assert ppi_mean(parts, sums(other)).theta == pytest.approx(
        ppi_mean(whole, sums(other)).theta, abs=1e-12
    )


def test_a_large_mean_costs_no_digits() -> None:
    y, f, other = _rows(19)
    near = ppi_mean(sums(y, f), sums(other))
    parts = sums(1e9 + y[:50], f[:50]) + sums(1e9 + y[50:], f[50:])
    far = ppi_mean(parts, sums(other))
    assert far.se == pytest.approx(near.se, rel=1e-6)
    assert far.theta - 1e9 == pytest.approx(near.theta, abs=1e-6)


def test_plain_and_unit_weights_agree_over_blocks() -> None:
    y, f = np.random.default_rng(10).standard_normal((2, 20_001))
    plain, weighted = sums(y, f), sums(y, f, weight=np.ones(20_001))
    assert np.allclose(plain.first, weighted.first, rtol=1e-12)
    assert np.allclose(plain.second, weighted.second, rtol=1e-12)


def test_covariance_is_numpys() -> None:
    y, f, _ = _rows(11)
    assert np.allclose(sums(y, f).covariance(), np.cov(y, f, ddof=0), atol=1e-12)


def test_no_labels_is_a_named_error() -> None:
    with pytest.raises(NotEstimableError, match="1 labelled") as caught:
        ppi_mean(sums([1.0], [1.0]), sums([1.0, 2.0]))
    assert caught.value.code == "no_labelled_rows"


def _people(seed: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    c = generator.standard_normal(6_000)
    m = 1.0 / (1.0 + np.exp(-c))
    d = (generator.random(6_000) < m).astype(float)
    y = 1.5 * d + c + generator.standard_normal(6_000)
    return c, m, d, y, 0.5 * y + 0.4 * generator.standard_normal(6_000)


def test_ate_by_arm_is_two_means_of_ppi_py() -> None:
    _, m, d, y, f = _people(12)
    known = np.arange(len(y)) < 1_500
    parts, theta = {}, {}
    for arm, weight in ((1.0, 1.0 / m), (0.0, 1.0 / (1.0 - m))):
        own, other = known & (d == arm), ~known & (d == arm)
        parts[arm] = (
            sums(y[own], f[own], weight=weight[own]), sums(f[other], weight=weight[other])
        )  # fmt: skip
        theta[arm], _ = _oracle(
            y[own], f[own], f[other], lam=1.0, w=weight[own], w_unlabeled=weight[other]
        )
    found = ppi_ate_by_arm(parts[1.0], parts[0.0], 1.0)
    assert found.theta == pytest.approx(theta[1.0] - theta[0.0], abs=1e-9)
    tuned = ppi_ate_by_arm(parts[1.0], parts[0.0])
    assert tuned.theta == pytest.approx(1.5, abs=4.0 * tuned.se)
    assert tuned.se < ppi_ate_by_arm(parts[1.0], parts[0.0], 0.0).se


@pytest.mark.parametrize("lam", [None, 1.0])
def test_ate_on_pseudo_outcomes_is_a_mean_of_ppi_py(lam: float | None) -> None:
    c, m, d, y, f = _people(13)
    known = np.random.default_rng(14).permutation(len(y)) < 1_000
    g0, g1 = 0.5 * c, 0.5 * c + 0.7

    def score(outcome: np.ndarray, rows: np.ndarray) -> np.ndarray:
        arm, p = d[rows], m[rows]
        return (
            g1[rows] - g0[rows] + arm * (outcome - g1[rows]) / p
            - (1.0 - arm) * (outcome - g0[rows]) / (1.0 - p)
        )  # fmt: skip

    truth = np.where(known, y, np.nan)
    found = ppi_ate(score, truth, f, known, lam)
    theta, se = _oracle(
        score(y[known], known), score(f[known], known), score(f[~known], ~known), lam=lam
    )
    assert found.theta == pytest.approx(theta, abs=1e-9)
    assert found.se == pytest.approx(se, abs=1e-9)
    assert found.theta == pytest.approx(1.5, abs=4.0 * found.se)
    assert (found.n_labelled, found.n_unlabelled) == (1_000, 5_000)


def _regression(seed: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    x = np.column_stack([np.ones(N + M), generator.standard_normal((N + M, 2))])
    y = x @ [1.0, 0.5, -0.3] + generator.standard_normal(N + M)
    f = 0.6 * y + 0.4 * generator.standard_normal(N + M)
    return x[:N], y[:N], f[:N], x[N:], f[N:]


def test_ols_on_a_constant_is_the_mean() -> None:
    y, f, other = _rows(20)
    one, many = np.ones((N, 1)), np.ones((M, 1))
    for lam in (None, 1.0):
        found, mean = (
            ppi_ols(one, y, f, many, other, lam=lam),
            ppi_mean(sums(y, f), sums(other), lam),
        )
        assert found.lam == pytest.approx(mean.lam, abs=1e-12)
        assert found.theta[0] == pytest.approx(mean.theta, abs=1e-12)
        assert found.se[0] == pytest.approx(mean.se, rel=1e-2)  # ddof 1 against 0


@pytest.mark.slow  # numba compiles the oracle for half a minute
@pytest.mark.parametrize("lam", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_ols_parity_with_ppi_py(lam: float | None, weighted: bool) -> None:
    import ppi_py

    rows = _regression(15)
    generator = np.random.default_rng(16)
    w, v = (generator.random(N) + 0.2, generator.random(M) + 0.2) if weighted else (None, None)
    found = ppi_ols(*rows, lam=lam, weight=w, weight_unlabelled=v)
    theta = ppi_py.ppi_ols_pointestimate(*rows, lam=lam, w=w, w_unlabeled=v)
    assert np.max(np.abs(found.theta - theta)) < 1e-9
    # Their interval tunes lam a second time where it is None: compare at one lam.
    low, high = ppi_py.ppi_ols_ci(*rows, lam=found.lam, w=w, w_unlabeled=v)
    assert np.max(np.abs(found.se - (high - low) / (2.0 * Z))) < 1e-9


@pytest.mark.slow
def test_ols_lam_for_one_coordinate_is_ppi_pys() -> None:
    import ppi_py

    rows = _regression(17)
    theta = ppi_py.ppi_ols_pointestimate(*rows, lam=None, coord=1)
    found = ppi_ols(*rows, coordinate=1)
    assert np.max(np.abs(found.theta - theta)) < 1e-9
    assert found.lam != ppi_ols(*rows).lam


def test_collinear_regressors_are_a_named_error() -> None:
    x, y, f, other, g = _regression(18)
    with pytest.raises(NotEstimableError, match="rank 3") as caught:
        ppi_ols(np.column_stack([x, x[:, 0]]), y, f, np.column_stack([other, other[:, 0]]), g)
    assert caught.value.code == "collinear"
