"""The record's own inference on cells and moments of the Gram engine."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from estimators.gram.accumulate import accumulate
from estimators.gram.inference import covariance, solve
from estimators.gram.keyed import Keyed
from estimators.gram.moments import fit_all
from estimators.gram.narrow import narrow, narrow_sums
from estimators.gram.partials import by_fold, merge
from estimators.gram.record import Recorded, cells, moments
from estimators.gram.record_pass import CELL, Recording, record_pass
from estimators.gram.scores import merge_scores, second_pass
from estimators.inference import FamilySums
from estimators.inference import solve as solve_family
from tests.estimators.gram.world import make_layout, make_rows


@pytest.mark.parametrize("clustered", [True, False])
def test_the_records_inference_agrees_on_marginal_effects(clustered):
    rows = make_rows()
    layout = make_layout(rows)
    rows = replace(rows, marks={CELL: layout.buckets(rows.place).astype(np.int64)})
    fitted = fit_all(layout, accumulate(layout, rows))
    leaves = record_pass(layout, rows, fitted, Recording(clustered=clustered))
    folds = [
        merge((bucket, keyed) for at, bucket, keyed in leaves if at == fold) for fold in range(5)
    ]
    effects = [
        SimpleNamespace(effect_id=f"plr.slope.{d}.{y}", treatment=d, outcome=y, by=(), joint=None)
        for d, y in fitted.shape.effects
    ]
    found = Recorded(0, fitted.shape, folds, effects, np.arange(8), {}, {})
    summed, ids = cells(found, None), [each.effect_id for each in effects]
    sums = merge_scores(second_pass(layout, rows, fitted, clustered=True))
    assert sums is not None
    size, shape = len(ids), fitted.shape
    parts = moments(found, None)
    family = FamilySums(
        tuple(ids),
        np.tile(np.arange(size), len(summed.cell)),
        np.repeat(summed.cell, size),
        summed.n.ravel(),
        summed.a.ravel(),
        summed.b.ravel(),
        table([each for each in parts if each.level == "unit"], ids),
        table([each for each in parts if each.level == "cluster"], ids) if clustered else None,
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


def test_sums_of_fewer_columns_are_those_of_a_narrower_layout():
    rows = make_rows()
    layout = make_layout(rows)
    narrowed = narrow(layout, {"t0", "t2"}, {"y1", "y2"})
    whole = by_fold(layout, accumulate(layout, rows))
    direct = by_fold(narrowed, accumulate(narrowed, rows))
    for sums, other in zip(whole, direct, strict=True):
        cut = narrow_sums(layout, narrowed, sums)
        assert (cut.n, cut.n_missing.tolist()) == (other.n, other.n_missing.tolist())
        np.testing.assert_allclose(cut.gram, other.gram, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(cut.missing, other.missing, rtol=1e-9, atol=1e-9)


def test_a_key_that_only_one_has_is_taken_over():
    one = Keyed({(CELL, "", 0, 1): np.ones(2)})
    two = Keyed({(CELL, "", 0, 1): np.ones(2), (CELL, "", 0, 0): np.zeros(2)})
    found = [(group, cell, values.tolist()) for group, cell, values in (one + two).of(CELL)]
    assert found == [(0, 0, [0.0, 0.0]), (0, 1, [2.0, 2.0])]
