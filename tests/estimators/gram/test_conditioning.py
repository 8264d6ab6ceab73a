"""Accuracy against exact arithmetic: columns far from zero lose nothing once they are centred."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from estimators.gram.accumulate import accumulate
from estimators.gram.blas import Doubles, unpack
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.moments import fit_all, residual_moments
from estimators.gram.partials import by_fold
from estimators.gram.pinning import Choice
from estimators.gram.ridge import fit
from estimators.gram.shape import Index
from estimators.gram.system import gram_of, systems
from tests.estimators.gram.world import Size, basis_columns, make_layout, make_rows


def far_rows(distance: float) -> Rows:
    """Everything `distance` away from zero, with unit spread."""
    rows = make_rows(Size(n=2000, numbers=4), gaps=False)
    numbers = {f"x{j}": rows.covariates[f"x{j}"] + distance for j in range(4)}  # type: ignore[operator]
    return replace(
        rows,
        covariates=numbers,
        treatments={name: d + distance for name, d in rows.treatments.items()},
        outcomes={name: y + distance for name, y in rows.outcomes.items()},
    )


def linear_layout(rows: Rows) -> Layout:
    return make_layout(rows, Choice(segments=0))


@pytest.mark.parametrize("distance", [0.0, 1e4, 1e6])
def test_residual_moments_match_long_double(distance):
    rows = far_rows(distance)
    layout = linear_layout(rows)
    exact = _long_double(layout, rows)
    fitted = fit_all(layout, accumulate(layout, rows), [1e-3])
    ours = np.zeros((layout.folds, fitted.shape.size))
    for fold, moments in enumerate(exact):
        fitted.shape.vector(0, moments, ours[fold])
    np.testing.assert_allclose(fitted.scores, ours, rtol=1e-11)


def _long_double(layout: Layout, rows: Rows) -> list[np.ndarray]:
    """Residual moments with every sum and solution in 80 bits."""
    long = np.longdouble
    design = np.column_stack([np.ones(rows.n), basis_columns(layout, rows)]).astype(long)
    columns = [*rows.treatments.values(), *rows.outcomes.values()]
    targets = np.stack(columns, axis=1).astype(long) - np.array(layout.centre, dtype=long)
    weight = rows.weight.astype(long)[:, None]
    moments = []
    for fold in range(layout.folds):
        train, test = rows.fold != fold, rows.fold == fold
        gram = (design[train] * weight[train]).T @ design[train]
        shrink = np.full(len(gram), long(1e-3) * weight[train].sum())
        shrink[0] = 0.0
        products = (design[train] * weight[train]).T @ targets[train]
        residual = targets[test] - design[test] @ _solve(gram + np.diag(shrink), products)
        moments.append(np.asarray((residual * weight[test]).T @ residual, dtype=np.float64))
    return moments


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gauss-Jordan with pivots; LAPACK has no 80 bits."""
    whole = np.concatenate([matrix, right], axis=1)
    size = len(matrix)
    for i in range(size):
        pivot = i + int(np.argmax(np.abs(whole[i:, i])))
        whole[[i, pivot]] = whole[[pivot, i]]
        whole[i] = whole[i] / whole[i, i]
        for other in range(size):
            if other != i:
                whole[other] = whole[other] - whole[other, i] * whole[i]
    return whole[:, size:]


def test_without_centring_the_same_sums_lose_half_their_digits():
    """The guard is needed: this is what the pinned centres prevent."""
    rows = far_rows(1e6)
    x = np.stack([rows.covariates[f"x{j}"] for j in range(4)])
    plain = x @ x.T / rows.n - np.outer(x.mean(axis=1), x.mean(axis=1))
    exact = np.cov(x.astype(np.longdouble), ddof=0)
    assert np.abs(plain / exact - 1.0).max() > 1e-6
    layout = linear_layout(replace(rows, weight=np.ones(rows.n)))
    folds = by_fold(layout, accumulate(layout, replace(rows, weight=np.ones(rows.n))))
    gram = unpack(sum((sums.gram for sums in folds), np.zeros(layout.packed)), layout.q)
    mean = gram[0, 1:5] / rows.n
    scale = np.array([term.scale for term in layout.basis.terms])  # type: ignore[union-attr]
    ours = (gram[1:5, 1:5] / rows.n - np.outer(mean, mean)) * np.outer(scale, scale)
    np.testing.assert_allclose(ours, exact.astype(np.float64), rtol=0, atol=1e-9)


def test_a_small_case_is_exact():
    """Integers and halves: every sum is exact, so the Gram equals rational arithmetic."""
    rows = make_rows(Size(n=64, numbers=2, treatments=2, outcomes=1, folds=3), gaps=False)
    halves = {f"x{j}": np.round(rows.covariates[f"x{j}"] * 2) / 2 for j in range(2)}  # type: ignore[operator]
    rows = replace(
        rows,
        covariates=halves,
        treatments={"d": np.round(rows.treatments["t0"] * 4) / 4},
        outcomes={"y": np.round(rows.outcomes["y0"] * 4) / 4},
        weight=np.array([1.0, 4.0])[np.arange(64) % 2],
        fold=(np.arange(64) % 3).astype(np.int16),
    )
    layout = make_layout(rows, Choice(segments=0), folds=3)
    pinned = replace(
        layout,
        basis=replace(
            layout.basis,
            terms=tuple(replace(term, centre=50.5, scale=2.0) for term in layout.basis.terms),  # type: ignore[call-arg]
        ),
        centre=(0.25, -0.5),
    )
    values = [
        np.ones(64),
        *[(x - 50.5) / 2.0 for x in halves.values()],
        rows.treatments["d"] - 0.25,
        rows.outcomes["y"] + 0.5,
    ]
    for fold, sums in enumerate(by_fold(pinned, accumulate(pinned, rows))):
        mine = np.flatnonzero(rows.fold == fold)
        exact = [
            [
                sum(
                    Fraction(float(a[i])) * Fraction(float(b[i])) * int(rows.weight[i])
                    for i in mine
                )
                for b in values
            ]
            for a in values
        ]
        ours = [[Fraction(each) for each in row] for row in unpack(sums.gram, 5).tolist()]
        assert ours == exact


def _product(a: Doubles, b: Doubles, weight: Doubles, mine: Index) -> Fraction:
    return sum(
        (Fraction(a[i]) * Fraction(b[i]) * Fraction(weight[i]) for i in mine.tolist()), Fraction(0)
    )


def test_moments_from_grams_are_those_of_the_residuals():
    rows = far_rows(1e3)
    layout = make_layout(rows, Choice(segments=4))
    system = systems(layout)[0]
    folds = [gram_of(layout, sums, system) for sums in by_fold(layout, accumulate(layout, rows))]
    slopes = fit(folds, [1e-6]).coefficients
    design = basis_columns(layout, rows)
    columns = [*rows.treatments.values(), *rows.outcomes.values()]
    targets = np.stack(columns, axis=1) - np.array(layout.centre)
    for fold in range(layout.folds):
        mine = rows.fold == fold
        residual = targets[mine] - slopes[fold][0] - design[mine] @ slopes[fold][1:]
        plain = (residual * rows.weight[mine, None]).T @ residual
        ours = residual_moments(folds[fold], slopes[fold])
        np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-10)
