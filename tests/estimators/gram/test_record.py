"""The record's own inference on cells and moments of the Gram engine."""

import numpy as np
import pytest

from estimators.gram.accumulate import accumulate
from estimators.gram.inference import covariance, solve
from estimators.gram.moments import fit_all
from estimators.gram.record import marginal_cells, marginal_moments
from estimators.gram.scores import merge_scores, second_pass
from estimators.inference import FamilySums
from estimators.inference import solve as solve_family
from tests.estimators.gram.world import make_layout, make_rows


@pytest.mark.parametrize("clustered", [True, False])
def test_the_records_inference_agrees_on_marginal_effects(clustered):
    rows = make_rows()
    layout = make_layout(rows)
    partials = accumulate(layout, rows)
    fitted = fit_all(layout, partials)
    ids = [f"plr.slope.{d}.{y}" for d, y in fitted.shape.effects]
    cells, buckets = marginal_cells(layout, fitted, partials, ids)
    sums = merge_scores(second_pass(layout, rows, fitted, clustered=True))
    assert sums is not None
    assert len(buckets) == 8
    size, shape = len(ids), fitted.shape
    family = FamilySums(
        tuple(ids),
        np.tile(np.arange(size), len(cells.cell)),
        np.repeat(cells.cell, size),
        cells.n.ravel(),
        cells.a.ravel(),
        cells.b.ravel(),
        table(marginal_moments(shape, sums.unit, ids, "unit"), ids),
        table(marginal_moments(shape, sums.cluster, ids, "cluster"), ids) if clustered else None,
        np.full(size, sums.clusters) if clustered else None,
    )
    theirs = solve_family(family)
    ours = solve(shape, fitted.scores.sum(axis=0), fitted.variation, joint=False)
    second, clusters = (sums.cluster, sums.clusters) if clustered else (sums.unit, None)
    np.testing.assert_allclose(theirs.theta, ours.theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(theirs.covariance, covariance(ours, second, clusters), rtol=1e-8)
    observed = rows.n - np.isnan(rows.outcomes["y2"]).sum()
    assert theirs.n.tolist() == [rows.n] * 6 + [observed] * 3


def table(moments, ids):
    """``(3, M, M)`` aa, ab, bb."""
    at = {name: i for i, name in enumerate(ids)}
    out = np.zeros((3, len(ids), len(ids)))
    for each in moments:
        i, j = at[each.effect_i], at[each.effect_j]
        out[:, i, j] = each.aa, each.ab, each.bb
        out[:, j, i] = each.aa, each.ba, each.bb
    return out
