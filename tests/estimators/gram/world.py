"""Rows for the tests of the Gram engine: non-integer values, NaN, categories, weights, clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import Ridge

from estimators.gram.blas import Doubles
from estimators.gram.columns import Column, Rows, coded
from estimators.gram.evaluate import Evaluator
from estimators.gram.layout import Layout, lay_out
from estimators.gram.pinning import Choice, pin, smallest


@dataclass(frozen=True, slots=True)
class Size:
    n: int = 3000
    numbers: int = 5
    treatments: int = 3
    outcomes: int = 3
    clusters: int = 150
    folds: int = 5
    seed: int = 1


def make_rows(size: Size = Size(), *, weighted: bool = True, gaps: bool = True) -> Rows:
    """Rows with joint treatments (theta 1, -0.5, 0, 0, ...) and curved confounding."""
    draw = np.random.default_rng(size.seed)
    n = size.n
    x = draw.normal(50.0, 2.0, (size.numbers, n))
    label = draw.integers(0, 4, n)
    curve = np.sin(x[0]) + 0.3 * (label == 2)
    d = np.stack([0.7 * curve + draw.normal(size=n) for _ in range(size.treatments)])
    d[1:] += 0.6 * d[0]
    base = d[0] - 0.5 * d[1] + np.cos(x[1]) + curve
    y = np.stack([base + draw.normal(size=n) * (1.0 + 0.2 * m) for m in range(size.outcomes)])
    clusters = draw.integers(0, 2**64, size.clusters, dtype=np.uint64)
    place = clusters[draw.integers(0, size.clusters, n)]
    if gaps:
        x[2, draw.random(n) < 0.1] = np.nan
        y[-1, draw.random(n) < 0.2] = np.nan
    covariates: dict[str, Column] = {f"x{j}": row for j, row in enumerate(x)}
    covariates["carrier"] = coded([["AA", "B6", "UA", None][code] for code in label])
    return Rows(
        covariates,
        {f"t{j}": row for j, row in enumerate(d)},
        {f"y{m}": row for m, row in enumerate(y)},
        draw.uniform(0.5, 2.0, n) if weighted else np.ones(n),
        (place % np.uint64(size.folds)).astype(np.int16),
        draw.integers(0, 2**64, n, dtype=np.uint64),
        place,
    )


CHOICE = Choice(segments=3, raw=frozenset({"x4"}), interactions=(("x0", "carrier"),))


def make_layout(
    rows: Rows,
    choice: Choice = CHOICE,
    *,
    depth: int = 3,
    folds: int = 5,
    block: int = 512,
) -> Layout:
    sample = smallest([rows], 1000)
    own = tuple(name for name, y in rows.outcomes.items() if bool(np.isnan(y).any()))
    layout = lay_out(pin(sample.covariates, choice), sample, folds=folds, depth=depth, own_rows=own)
    return replace(layout, block=block)


def basis_columns(layout: Layout, rows: Rows) -> Doubles:
    """``(n, p - 1)`` basis columns, in one block."""
    evaluator = Evaluator(layout.basis, rows.n)
    columns = evaluator.read(rows.covariates)
    out = np.empty((layout.basis.size, rows.n))
    evaluator.fill(columns, out)
    return np.ascontiguousarray(out.T)


def plain_residuals(
    layout: Layout, rows: Rows, observed: Doubles, outcomes: list[str], penalty: float
) -> tuple[Doubles, Doubles]:
    """Residuals of a plain scikit-learn cross-fit on the observed rows: ``(J, n)``, ``(M, n)``."""
    targets = np.stack([*rows.treatments.values(), *(rows.outcomes[name] for name in outcomes)])
    design = basis_columns(layout, rows)
    residual = np.full(targets.shape, np.nan)
    for fold in range(layout.folds):
        train, test = observed & (rows.fold != fold), observed & (rows.fold == fold)
        model = Ridge(alpha=penalty * rows.weight[train].sum(), solver="cholesky")
        model.fit(design[train], targets[:, train].T, sample_weight=rows.weight[train])
        residual[:, test] = targets[:, test] - model.predict(design[test]).T
    j = len(rows.treatments)
    return residual[:j, observed], residual[j:, observed]


def copied(rows: Rows, times: int) -> Rows:
    """Every row `times` times, with hashes of their own and the places of the originals."""
    whole = rows.take(np.tile(np.arange(rows.n), times))
    shift = np.repeat(np.arange(times, dtype=np.uint64), rows.n)
    return replace(whole, unit=whole.unit + shift)
