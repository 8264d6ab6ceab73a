"""The four traps, each with the figures at which it was first seen."""

import numpy as np
import pytest

from estimators.debias.calibration import Calibration, calibration_rows
from estimators.debias.labelled import labelled_rows, run_gate
from estimators.debias.linear import fit_linear
from estimators.debias.tweedie import fit_tweedie
from estimators.errors import ContractError
from tests.estimators.debias.samples import channel

N = 100_000
SEED = np.random.SeedSequence(1)


# (a) A score fitted on the rows that are averaged gives back the naive mean.
TRUTH_A, NAIVE_A = 2.371, 1.586
K_A, V_A = NAIVE_A / TRUTH_A, 4.0


def _trial_a() -> tuple[np.ndarray, np.ndarray, Calibration]:
    """Label shift holds: two arms whose outcomes differ by 2.371, a calibration N(0, 4)."""
    generator = np.random.default_rng(1)
    arm = np.repeat([0, 1], N)
    y = generator.standard_normal(2 * N) + TRUTH_A * (arm - 0.5)
    truth = 2.0 * generator.standard_normal(20_000)
    rows = calibration_rows(channel(truth, generator, K_A, V_A), truth)
    return arm, channel(y, generator, K_A, V_A), rows


def _effect(arm: np.ndarray, values: np.ndarray) -> float:
    return float(values[arm == 1].mean() - values[arm == 0].mean())


def test_a_score_from_calibration_rows_finds_the_truth() -> None:
    arm, f, rows = _trial_a()
    assert _effect(arm, f) == pytest.approx(NAIVE_A, abs=0.02)
    assert _effect(arm, fit_tweedie(rows).apply(f)) == pytest.approx(TRUTH_A, abs=0.03)
    assert _effect(arm, fit_linear(rows).apply(f)) == pytest.approx(TRUTH_A, abs=0.03)


def test_a_score_fitted_on_the_averaged_rows_gives_back_the_naive_effect() -> None:
    arm, f, rows = _trial_a()
    # The noise scale is right, from held-out rows; the density is the arm's own.
    residual = np.random.default_rng(2).standard_normal(N) * fit_tweedie(rows).sigma
    corrected = np.empty_like(f)
    for each in (0, 1):
        own = calibration_rows(f[arm == each], f[arm == each] + residual)
        corrected[arm == each] = fit_tweedie(own).apply(f[arm == each])
    assert _effect(arm, corrected) == pytest.approx(NAIVE_A, abs=0.02)


# (b) Right where P(Yhat | Y) is stable between groups, wrong where P(Y | Yhat) is.
TRUTH_B, LCC_B, TWEEDIE_B = 1.591, 2.283, 2.349
WIDE_B, NOISE_B = 4.539, 1.4798


def _people_b(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The map sees the cause: Yhat differs by 1.591 between arms, Y = Yhat + noise in both.

    Within an arm predictions mix N(0, 1) and N(0, 4.539), so that Tweedie and LCC differ too.
    """
    generator = np.random.default_rng(seed)
    arm = np.repeat([0, 1], n)
    sd = np.where(generator.random(2 * n) < 0.5, 1.0, np.sqrt(WIDE_B))
    f = sd * generator.standard_normal(2 * n) + TRUTH_B * (arm - 0.5)
    return arm, f, f + np.sqrt(NOISE_B) * generator.standard_normal(2 * n)


def test_corrections_are_wrong_where_the_truth_given_the_prediction_is_stable() -> None:
    arm, f, y = _people_b(N, 3)
    calibration_arm, prediction, truth = _people_b(50_000, 4)
    rows = calibration_rows(prediction, truth, arm=calibration_arm)
    line, curve = fit_linear(rows), fit_tweedie(rows)
    assert _effect(arm, y) == pytest.approx(TRUTH_B, abs=0.03)
    assert _effect(arm, f) == pytest.approx(TRUTH_B, abs=0.03)
    assert _effect(arm, line.apply(f)) == pytest.approx(LCC_B, abs=0.04)
    assert _effect(arm, curve.apply(f)) == pytest.approx(TWEEDIE_B, abs=0.04)


def test_the_gate_keeps_the_naive_effect_there() -> None:
    arm, f, y = _people_b(1_500, 5)
    rows = calibration_rows(f, y, arm=arm)
    gate = run_gate(rows, {"lcc": fit_linear(rows), "tweedie": fit_tweedie(rows)}, SEED)
    assert gate.answer == "naive_ok"
    assert [test.found for test in gate.tests] == ["fine", "wrong", "wrong"]


# (c) Groups picked by the prediction turn the gate round.
def test_groups_picked_by_the_prediction_turn_the_gate_round() -> None:
    generator = np.random.default_rng(16)
    arm = np.repeat([0, 1], 4_000)
    y = 2.0 * generator.standard_normal(8_000) + 1.5 * (arm - 0.5)
    f = channel(y, generator, 0.6, 4.0 + 0.75**2)
    honest = calibration_rows(f, y, arm=arm)
    picked = calibration_rows(f, y, arm=(f > np.median(f)).astype(int))
    corrections = {"lcc": fit_linear(honest)}
    right, wrong = (run_gate(rows, corrections, SEED) for rows in (honest, picked))
    assert [test.found for test in right.tests] == ["wrong", "fine"]
    assert (right.answer, right.correction) == ("correct", "lcc")
    # Within halves of the prediction the truth regresses to the mean: all is upside down.
    assert [test.found for test in wrong.tests] == ["fine", "wrong"]
    assert wrong.answer == "naive_ok"


# (d) The noise scale of training rows is too small.
def _overfit() -> tuple[Calibration, Calibration, np.ndarray, np.ndarray, np.ndarray]:
    """Least squares with 150 columns on 400 rows; calibration on them, and on 2,000 others."""
    generator = np.random.default_rng(7)
    load = generator.standard_normal(150) * 0.04

    def see(y: np.ndarray) -> np.ndarray:
        return y[:, None] * load + generator.standard_normal((len(y), 150))

    y_train, y_held = 2.0 * generator.standard_normal(400), 2.0 * generator.standard_normal(2_000)
    x_train, x_held = see(y_train), see(y_held)
    weight = np.linalg.lstsq(x_train, y_train)[0]
    arm = np.repeat([0, 1], 20_000)
    y = 2.0 * generator.standard_normal(40_000) + 2.0 * (arm - 0.5)
    rows = calibration_rows(x_train @ weight, y_train)
    return rows, calibration_rows(x_held @ weight, y_held), arm, see(y) @ weight, y


def test_training_residuals_make_the_noise_too_small_and_the_effect_too() -> None:
    training, held, arm, f, y = _overfit()
    own, other = fit_tweedie(training), fit_tweedie(held)
    # 150 of 400 degrees of freedom are fitted away inside, and added as noise outside.
    assert own.sigma < 0.7 * other.sigma
    assert _effect(arm, own.apply(f)) < 0.7 * _effect(arm, y)
    assert _effect(arm, other.apply(f)) > 0.85 * _effect(arm, y)
    # LCC suffers alike: its line is steeper inside than outside.
    inside, outside = fit_linear(training), fit_linear(held)
    assert inside.slope > 1.3 * outside.slope
    assert _effect(arm, inside.apply(f)) < 0.7 * _effect(arm, y)
    assert _effect(arm, outside.apply(f)) == pytest.approx(_effect(arm, y), rel=0.1)


def test_declared_training_rows_are_refused() -> None:
    training, _, _, _, _ = _overfit()
    ids = np.arange(training.n)
    with pytest.raises(ContractError) as caught:
        calibration_rows(training.prediction, training.truth, unit_id=ids, training_ids=ids)
    assert caught.value.code == "calibration_overlaps_training"


def test_labels_of_other_rows_can_be_used() -> None:
    generator = np.random.default_rng(8)
    y = 2.0 * generator.standard_normal(3_000)
    rows = calibration_rows(channel(y, generator), y)
    arm = np.repeat([0, 1], 2_000)
    truth = 2.0 * generator.standard_normal(4_000) + 1.5 * (arm - 0.5)
    labels = labelled_rows(calibration_rows(channel(truth, generator), truth, arm=arm), own=False)
    gate = run_gate(
        rows, {"lcc": fit_linear(rows), "tweedie": fit_tweedie(rows)}, SEED, labelled=labels
    )
    assert (gate.answer, gate.correction) == ("correct", "lcc")
