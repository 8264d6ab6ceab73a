from concurrent.futures import ThreadPoolExecutor

import numpy as np

from estimators.gram.accumulate import accumulate
from estimators.gram.engine import estimate, split
from estimators.gram.inference import covariance, solve
from estimators.gram.moments import fit_all
from estimators.gram.scores import merge_scores, second_pass
from tests.estimators.gram.world import Size, make_layout, make_rows

ROWS = make_rows()
LAYOUT = make_layout(ROWS)


def test_the_engine_is_its_parts():
    buckets, read = split(LAYOUT, ROWS)
    ours = estimate(LAYOUT, buckets, read, clustered=True)
    fitted = fit_all(LAYOUT, accumulate(LAYOUT, ROWS))
    effects = solve(fitted.shape, fitted.scores.sum(axis=0), fitted.variation)
    sums = merge_scores(second_pass(LAYOUT, ROWS, fitted, clustered=True))
    assert sums is not None
    assert ours.effects.theta.tobytes() == effects.theta.tobytes()
    assert ours.hc0.tobytes() == covariance(effects, sums.unit).tobytes()
    assert ours.clustered is not None
    clustered = covariance(effects, sums.cluster, sums.clusters)
    assert ours.clustered.tobytes() == clustered.tobytes()


def test_a_pool_and_another_row_order_give_the_same_bytes():
    buckets, read = split(LAYOUT, ROWS)
    ours = estimate(LAYOUT, buckets, read)
    buckets, read = split(LAYOUT, ROWS.take(np.random.default_rng(0).permutation(ROWS.n)))
    with ThreadPoolExecutor(3) as pool:
        theirs = estimate(LAYOUT, buckets, read, pool.map)
    assert ours.effects.theta.tobytes() == theirs.effects.theta.tobytes()
    assert ours.hc0.tobytes() == theirs.hc0.tobytes()


def test_intervals_cover_the_truth():
    """A light check; the grid of coverage lies with the other grids."""
    truth = np.tile([1.0, -0.5, 0.0], 3)
    inside = []
    for seed in range(12):
        rows = make_rows(Size(n=1500, seed=100 + seed), weighted=False)
        layout = make_layout(rows)
        buckets, read = split(layout, rows)
        ours = estimate(layout, buckets, read)
        error = np.abs(ours.effects.theta - truth) / np.sqrt(np.diagonal(ours.hc0))
        inside.append(error < 2.576)
    assert np.mean(inside) > 0.93
