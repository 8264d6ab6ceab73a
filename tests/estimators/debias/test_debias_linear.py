import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from estimators.debias.calibration import calibration_rows
from estimators.debias.correction import apply_batches
from estimators.debias.linear import fit_linear
from estimators.debias.uncertainty import calibration_cells, linear_se
from estimators.errors import ContractError
from tests.estimators.debias.samples import calibration, channel

CASES = json.loads((Path(__file__).parent / "data" / "unshrink.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_parity_with_unshrink(case: dict) -> None:
    line = fit_linear(calibration_rows(case["calibration_prediction"], case["calibration_truth"]))
    assert line.intercept == pytest.approx(case["lcc"]["intercept"], abs=1e-9)
    assert line.slope == pytest.approx(case["lcc"]["slope"], abs=1e-9)
    corrected = line.apply(case["prediction"])
    assert np.max(np.abs(corrected - case["lcc"]["corrected"])) < 1e-9


def test_an_exact_line_is_undone_exactly() -> None:
    y = np.linspace(-3.0, 5.0, 40)
    line = fit_linear(calibration_rows(0.4 * y + 1.0, y))
    assert np.allclose(line.apply(0.4 * y + 1.0), y, atol=1e-12)
    assert line.slope_se == pytest.approx(0.0, abs=1e-12)
    cells = calibration_cells(line, np.array([-100.0]), label="c", level=np.array([True]))
    assert np.allclose(cells.a, 0.0)


def test_weights_are_copies_for_the_line() -> None:
    rows = calibration(60, np.random.default_rng(2))
    weight = np.random.default_rng(3).integers(1, 4, 60).astype(float)
    copies = np.repeat(np.arange(60), weight.astype(int))
    weighted = fit_linear(calibration_rows(rows.prediction, rows.truth, weight=weight))
    copied = fit_linear(calibration_rows(rows.prediction[copies], rows.truth[copies]))
    assert weighted.slope == pytest.approx(copied.slope, abs=1e-12)
    assert weighted.intercept == pytest.approx(copied.intercept, abs=1e-12)


def test_covariance_is_that_of_statsmodels_hc0() -> None:
    import statsmodels.api as sm

    rows = calibration(300, np.random.default_rng(4))
    fitted = sm.OLS(rows.prediction, sm.add_constant(rows.truth)).fit(cov_type="HC0")
    assert np.allclose(fit_linear(rows).covariance, fitted.cov_params(), rtol=1e-9)


def test_clustered_rows_share_their_errors() -> None:
    import statsmodels.api as sm

    rows = calibration(300, np.random.default_rng(5))
    cluster = np.arange(300) // 6
    fitted = sm.OLS(rows.prediction, sm.add_constant(rows.truth)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    line = fit_linear(calibration_rows(rows.prediction, rows.truth, cluster_id=cluster))
    assert np.allclose(line.covariance, fitted.cov_params(), rtol=1e-9)
    assert line.influence.shape == (50, 2)


def test_batches_of_any_length_give_the_same_bytes() -> None:
    rows = np.random.default_rng(6).standard_normal(50_001)
    line = fit_linear(calibration(200, np.random.default_rng(7)))
    whole = line.apply(rows)
    cuts = [0, 1, 3, 20_000, 20_007, 50_001]
    parts = [pa.array(rows[a:b]) for a, b in itertools.pairwise(cuts)]
    assert np.concatenate(list(apply_batches(line, parts))).tobytes() == whole.tobytes()
    room = np.empty_like(rows)
    assert line.apply(rows, out=room) is room
    assert room.tobytes() == whole.tobytes()
    assert line.apply(np.empty(0)).shape == (0,)


def test_null_stays_null_and_a_wrong_room_is_refused() -> None:
    line = fit_linear(calibration(200, np.random.default_rng(8)))
    found = line.apply(pa.array([1.0, None, 2.0]))
    assert np.isnan(found).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="out"):
        line.apply(np.zeros(3), out=np.zeros(4))
    with pytest.raises(ValueError, match="one column"):
        line.apply(np.zeros((3, 2)))


def test_a_prediction_that_does_not_follow_the_truth_is_refused() -> None:
    generator = np.random.default_rng(9)
    y = generator.standard_normal(100)
    with pytest.raises(ContractError, match="slope") as caught:
        fit_linear(calibration_rows(-0.5 * y + 0.1 * generator.standard_normal(100), y))
    assert caught.value.code == "weak_calibration"


def test_a_weak_slope_is_a_failed_check() -> None:
    generator = np.random.default_rng(10)
    assert fit_linear(calibration(2_000, generator, k=0.1)).weak
    assert not fit_linear(calibration(2_000, generator, k=0.6)).weak
    few = calibration_rows(*_few(generator))
    assert few.n == 30
    assert fit_linear(few).weak


def _few(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = generator.standard_normal(30)
    return 0.3 * y + 0.5 * generator.standard_normal(30), y


def _cells_setting() -> tuple:
    generator = np.random.default_rng(11)
    rows = calibration(150, generator)
    line = fit_linear(rows)
    y = generator.standard_normal(4_000) + np.repeat([0.0, 1.3], 2_000)
    f = channel(y, generator)
    balance = np.repeat([-2.0, 2.0], 2_000)
    # A contrast with psi_a = -1, the same weighted threefold, and a level (the first arm's mean).
    psi_b = np.stack([balance * f, 3.0 * balance * f, (balance < 0) * 2.0 * f])
    total_a = np.array([-4_000.0, -12_000.0, -4_000.0])
    return rows, line, psi_b, total_a


def _thetas(line, psi_b: np.ndarray, total_a: np.ndarray) -> np.ndarray:
    constant = np.array([0.0, 0.0, 1.0])
    return (-psi_b.sum(axis=1) / total_a - constant * line.intercept) / line.slope


def test_cells_carry_the_delta_method_of_every_effect() -> None:
    _rows, line, psi_b, total_a = _cells_setting()
    theta = _thetas(line, psi_b, total_a)
    level = np.array([False, False, True])
    cells = calibration_cells(line, total_a, label="calibration:y@3", level=level)
    assert cells.cell == tuple(f"calibration:y@3:{part}" for part in ("k+", "k-", "m+", "m-"))
    assert np.allclose(cells.a.sum(axis=0), 0.0)
    assert np.allclose(cells.b.sum(axis=0), 0.0)
    gradient = np.stack([-1.0 * level / line.slope, -theta / line.slope], axis=1)
    expected = gradient @ line.covariance @ gradient.T
    assert np.allclose(cells.covariance(theta, total_a), expected, rtol=1e-9)
    assert linear_se(theta[0], 0.0, line) == pytest.approx(np.sqrt(expected[0, 0]), rel=1e-9)
    assert linear_se(theta[0], 0.3, line) == pytest.approx(np.hypot(0.3, np.sqrt(expected[0, 0])))


def test_rows_as_cells_say_the_same() -> None:
    _, line, psi_b, total_a = _cells_setting()
    theta = _thetas(line, psi_b, total_a)
    level = np.array([False, False, True])
    few = calibration_cells(line, total_a, label="c", level=level)
    many = calibration_cells(line, total_a, label="c", level=level, by_row=True)
    assert len(many.cell) == 150
    assert np.allclose(
        few.covariance(theta, total_a), many.covariance(theta, total_a), rtol=1e-9, atol=1e-15
    )


def test_contrasts_alone_need_two_cells() -> None:
    _, line, _, total_a = _cells_setting()
    assert len(calibration_cells(line, total_a, label="c").cell) == 2


def test_two_windows_share_their_calibration() -> None:
    _, line, psi_b, total_a = _cells_setting()
    theta = _thetas(line, psi_b, total_a)[:1]
    first = calibration_cells(line, total_a[:1], label="c")
    later = calibration_cells(line, 5.0 * total_a[:1], label="c")
    assert first.cell == later.cell
    share = -(first.a * theta) / total_a[:1], -(later.a * theta) / (5.0 * total_a[:1])
    correlation = np.sum(share[0] * share[1]) / np.sqrt(
        np.sum(share[0] ** 2) * np.sum(share[1] ** 2)
    )
    assert correlation == pytest.approx(1.0)


def test_the_delta_method_agrees_with_a_jackknife() -> None:
    rows, line, psi_b, total_a = _cells_setting()
    theta = _thetas(line, psi_b, total_a)
    level = np.array([False, False, True])
    cells = calibration_cells(line, total_a, label="c", level=level)
    left_out = []
    for i in range(rows.n):
        kept = np.arange(rows.n) != i
        each = fit_linear(calibration_rows(rows.prediction[kept], rows.truth[kept]))
        left_out.append(_thetas(each, psi_b, total_a))
    spread = np.cov(np.array(left_out).T) * (rows.n - 1) ** 2 / rows.n
    assert np.allclose(cells.covariance(theta, total_a), spread, rtol=0.06)
