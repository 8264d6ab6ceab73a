import numpy as np
import pyarrow as pa
import pytest

from estimators.debias.calibration import calibration_rows
from estimators.debias.correction import OUTSIDE_SHARE, count_outside
from estimators.debias.linear import fit_linear
from estimators.debias.tweedie import fit_tweedie
from estimators.errors import ContractError, Where
from tests.estimators.debias.samples import calibration

RNG = np.random.default_rng(20261121)
Y = RNG.standard_normal(200)
F = 0.5 * Y + 0.4 * RNG.standard_normal(200)
IDS = np.array([f"u{i}" for i in range(200)])


def code(*args: object, **kwargs: object) -> str:
    with pytest.raises(ContractError) as caught:
        calibration_rows(*args, **kwargs)  # type: ignore[arg-type]
    assert caught.value.remedy
    assert any(character.isdigit() for character in caught.value.message)
    return caught.value.code


def test_good_rows_are_held_as_they_are() -> None:
    rows = calibration_rows(F, Y)
    assert rows.n == 200
    assert np.array_equal(rows.prediction, F)
    assert np.array_equal(rows.weight, np.ones(200))


def test_arrow_columns_are_rows() -> None:
    rows = calibration_rows(pa.chunked_array([F[:50], F[50:]]), pa.array(Y))
    assert np.array_equal(rows.prediction, F)


def test_29_rows_are_too_few_and_30_are_not() -> None:
    assert code(F[:29], Y[:29]) == "too_few_calibration_rows"
    assert calibration_rows(F[:30], Y[:30]).n == 30


def test_columns_must_have_one_length() -> None:
    assert code(F, Y[:-1]) == "calibration_shape"
    assert code(F, Y, arm=np.ones(3)) == "calibration_shape"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_missing_value_is_named(bad: float) -> None:
    broken = F.copy()
    broken[7] = bad
    assert code(broken, Y) == "calibration_not_finite"
    assert code(F, broken) == "calibration_not_finite"
    assert code(pa.array([None, *F[1:]]), Y) == "calibration_not_finite"


@pytest.mark.parametrize("weight", [-np.ones(200), np.zeros(200), np.full(200, np.nan)])
def test_weights_must_weigh(weight: np.ndarray) -> None:
    assert code(F, Y, weight=weight) == "calibration_not_finite"


def test_a_constant_column_is_named() -> None:
    assert code(np.full(200, 0.1) + 0.2, Y) == "constant_prediction"
    assert code(F, np.full(200, 3.0)) == "constant_truth"


def test_rows_with_no_weight_do_not_count_as_variation() -> None:
    prediction, weight = np.full(200, 1.0), np.ones(200)
    prediction[0], weight[0] = 2.0, 0.0
    assert code(prediction, Y, weight=weight) == "constant_prediction"


@pytest.mark.parametrize(
    "truth",
    [100.0 * Y, 0.01 * Y, Y + 10.0, np.exp(8.0 + Y)],
    ids=["percent", "share", "shifted", "level of a logarithm"],
)
def test_truth_on_another_scale(truth: np.ndarray) -> None:
    assert code(F, truth) == "other_scale"


def test_shrunken_weak_and_noisy_predictions_are_on_one_scale() -> None:
    noise = RNG.standard_normal(2_000)
    y = RNG.standard_normal(2_000)
    assert calibration_rows(0.05 * y + 0.2 * noise, y).n == 2_000
    assert calibration_rows(0.1 * y + noise, y).n == 2_000
    assert calibration_rows(2.0 * y + noise, y).n == 2_000


def test_rows_of_the_training_are_refused() -> None:
    assert (
        code(F, Y, unit_id=IDS, training_ids=["x", "u3", "u9"]) == "calibration_overlaps_training"
    )
    assert calibration_rows(F, Y, unit_id=IDS, training_ids=["x"]).n == 200


def test_declared_training_ids_need_ids_to_compare() -> None:
    with pytest.raises(ContractError, match="no ids") as caught:
        calibration_rows(F, Y, training_ids=["x"])
    assert caught.value.code == "calibration_overlaps_training"


def test_the_error_names_the_table() -> None:
    with pytest.raises(ContractError, match="calibration@3"):
        calibration_rows(F[:3], Y[:3], where=Where(table="calibration", version=3))


def test_an_error_survives_pickling() -> None:
    import pickle

    with pytest.raises(ContractError) as caught:
        calibration_rows(F[:3], Y[:3])
    assert pickle.loads(pickle.dumps(caught.value)).code == "too_few_calibration_rows"  # noqa: S301


def test_predictions_outside_the_calibrated_range_are_counted() -> None:
    rows = calibration(500, np.random.default_rng(1))
    for correction in (fit_linear(rows), fit_tweedie(rows)):
        low, high = rows.prediction.min(), rows.prediction.max()
        inside = np.array([low, high, 0.5 * (low + high), np.nan])
        assert count_outside(correction, inside) == 0
        assert count_outside(correction, [low - 1e-9, high + 1.0, 0.0]) == 2
    assert 0.0 < OUTSIDE_SHARE < 1.0
