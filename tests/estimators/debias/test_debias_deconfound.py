import numpy as np
import pytest

from estimators.debias.deconfound import deconfound
from estimators.errors import ContractError

Doubles = np.ndarray
BETA = np.array([1.0, -0.5, 0.0, 0.25])


def _texts(n: int, seed: int) -> tuple[Doubles, ...]:
    """Embeddings and outcomes that share confounders; h is curved."""
    generator = np.random.default_rng(seed)
    c = generator.standard_normal((n, 2))
    h = np.sin(1.5 * c[:, 0]) + 0.5 * c[:, 1] ** 2
    e = generator.standard_normal((n, 4)) + np.column_stack([h, c[:, 0], c[:, 1], 0.0 * h])
    y = 3.0 + e @ BETA + h + 0.5 * generator.standard_normal(n)
    return y, e, c, h, np.arange(n) % 5


def _r2(x: Doubles, y: Doubles) -> float:
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def test_the_confounders_part_is_found_out_of_fold() -> None:
    y, e, c, h, fold = _texts(8_000, 1)
    found = deconfound(y, e, c, fold)
    assert _r2(found.confounding, h) > 0.98
    assert np.max(np.abs(found.beta - BETA)) < 0.05
    assert found.beta.shape == (5, 4)
    assert found.outcome.mean() == pytest.approx(y.mean(), abs=0.02)
    # What is left is the embedding's own effect.
    left = found.outcome - e @ BETA
    assert np.std(left) == pytest.approx(0.5, abs=0.03)


def test_it_is_not_the_same_as_removing_the_conditional_mean() -> None:
    y, e, c, _, fold = _texts(8_000, 2)
    found = deconfound(y, e, c, fold)
    # E moves with C: taking E[Y|C] away would take its effect away too, and a fit of what is left
    # on E would find less than beta.
    deconfounded = np.linalg.lstsq(np.column_stack([np.ones(len(y)), e]), found.outcome)[0][1:]
    assert np.max(np.abs(deconfounded - BETA)) < 0.05
    naive = np.linalg.lstsq(np.column_stack([np.ones(len(y)), e]), y)[0][1:]
    assert naive[0] > 1.2


def test_a_fold_never_sees_its_own_outcomes() -> None:
    y, e, c, _, fold = _texts(1_000, 3)
    moved = y.copy()
    moved[fold == 2] += 100.0 * np.random.default_rng(4).standard_normal(200)
    first, second = deconfound(y, e, c, fold), deconfound(moved, e, c, fold)
    held = fold == 2
    changed = ~np.isclose(first.confounding, second.confounding)
    assert changed[~held].all()
    assert first.beta[2] == pytest.approx(second.beta[2], abs=5.0)
    # The held-out fold's own l and r are untouched; beta is of other folds' residuals.
    again = deconfound(y, e, c, fold)
    assert again.confounding.tobytes() == first.confounding.tobytes()


def test_another_learner_can_be_given() -> None:
    y, e, c, h, fold = _texts(2_000, 5)

    def least_squares(train: Doubles, targets: Doubles, test: Doubles) -> Doubles:
        def basis(x: Doubles) -> Doubles:
            return np.column_stack([np.ones(len(x)), x, x**2, x**3])

        return basis(test) @ np.linalg.lstsq(basis(train), targets)[0]

    found = deconfound(y, e, c, fold, learner=least_squares)
    assert _r2(found.confounding, h) > 0.9


def test_a_heavy_penalty_shrinks_beta() -> None:
    y, e, c, _, fold = _texts(500, 6)
    light, heavy = (deconfound(y, e, c, fold, penalty=p) for p in (1.0, 1e6))
    assert np.abs(heavy.beta).max() < 0.01 * np.abs(light.beta).max()


def test_bad_input_is_named() -> None:
    y, e, c, _, fold = _texts(100, 7)
    broken = e.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ContractError, match="1 values of the embedding") as caught:
        deconfound(y, broken, c, fold)
    assert caught.value.code == "not_finite"
    with pytest.raises(ContractError, match="at least two") as caught:
        deconfound(y, e, c, np.zeros(100, dtype=int))
    assert caught.value.code == "folds"
