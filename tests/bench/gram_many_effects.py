"""5 treatments x 20 outcomes, 50 covariates as splines: all pairs and HC0, beside EconML's loop.

``python -m tests.bench.gram_many_effects --rows 1000000 --peer-rows 20000 100000 1000000`` writes
``gram_many_effects.csv``. Ratios are of figures of the same run, processor seconds first: they do
not count what others do on a shared machine. EconML gets one BLAS thread, its cheapest setting in
processor seconds; its loop over 100 pairs is extrapolated from the pairs measured (`--pairs`, one
from 500,000 rows on).
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from econml.dml import LinearDML
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from estimators.gram.blas import Doubles, add_product, one_thread
from estimators.gram.columns import Rows
from estimators.gram.engine import Estimates, estimate, split
from estimators.gram.layout import Layout
from estimators.gram.pinning import smallest
from tests.bench.gram_world import (
    FOLDS,
    OUTCOMES,
    TREATMENTS,
    Table,
    Timing,
    bench_layout,
    bucket_rows,
    matrices,
    timed,
)

PAIRS = TREATMENTS * OUTCOMES


def ours(rows: Rows, workers: int, segments: int) -> tuple[Timing, Layout, Estimates]:
    """Pin, two passes, 100 effects and their HC0 covariance; penalties chosen from 19."""
    depth = max(0, int(np.log2(max(rows.n // 60_000, 1))))
    with timed() as timing:
        layout = bench_layout(smallest([rows]), depth, segments)
        buckets, read = split(layout, rows)
        with ThreadPoolExecutor(workers) as pool:
            found = estimate(layout, buckets, read, pool.map)
    return timing, layout, found


def floor(q: int, n: int, block: int) -> float:
    """Processor seconds of the bare symmetric products of n rows and q columns."""
    buffer = np.random.default_rng(0).standard_normal((q, block))
    total, scratch = np.zeros((q, q)), np.empty((q, q))
    with one_thread(), timed() as timing:
        for _ in range(n // block):
            add_product(total, buffer, scratch)
    return timing.cpu * n / (n // block * block)


def learner(segments: int, n: int) -> object:
    """The same learner class: cubic splines and a ridge, its penalty fixed (theirs costs less)."""
    spline = SplineTransformer(
        n_knots=segments + 1, degree=3, extrapolation="linear", include_bias=False
    )
    return make_pipeline(spline, StandardScaler(), Ridge(alpha=1e-4 * n))


def econml_fit(x: Doubles, d: Doubles, y: Doubles, segments: int) -> tuple[Timing, LinearDML]:
    """One LinearDML with its default inference (a robust covariance) and our number of folds."""
    n = len(x)
    model = LinearDML(
        model_y=learner(segments, n),
        model_t=learner(segments, n),
        cv=KFold(FOLDS, shuffle=True, random_state=0),
        random_state=0,
    )
    with timed() as timing, warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # theirs: deprecations inside its own calls
        model.fit(y, d, X=None, W=x)
    return timing, model


def compare(table: Table, rows: Rows, workers: int, segments: int, pairs: int) -> float:
    """EconML pair by pair between two runs of ours; its mean processor seconds a pair."""
    n = rows.n
    before, _, found = ours(rows, workers, segments)
    x, d, y = matrices(rows)
    wall, cpu, apart = [], [], []
    for pair in range(pairs):
        j, m = pair % TREATMENTS, (7 * pair) % OUTCOMES
        timing, model = econml_fit(x, d[:, j], y[:, m], segments)
        wall.append(timing.wall)
        cpu.append(timing.cpu)
        table.add("econml_one_pair_wall", n, timing.wall, "s", f"t{j}, y{m}; one BLAS thread")
        table.add("econml_one_pair_cpu", n, timing.cpu, "s", f"t{j}, y{m}; one BLAS thread")
        theirs = float(np.squeeze(model.const_marginal_effect()))
        apart.append(abs(theirs - _marginal(found, j, m)) / _error(found, j, m))
    after, _, _ = ours(rows, workers, segments)
    table.add("gram_all_pairs_wall", n, (before.wall + after.wall) / 2.0, "s", "around EconML's")
    table.add("gram_all_pairs_cpu", n, (before.cpu + after.cpu) / 2.0, "s", "around EconML's")
    note = f"100 pairs extrapolated from {pairs}; same run"
    ratio = PAIRS * float(np.mean(cpu)) / ((before.cpu + after.cpu) / 2.0)
    table.add("speedup_over_looped_econml_cpu", n, ratio, "x", note)
    ratio = PAIRS * float(np.mean(wall)) / ((before.wall + after.wall) / 2.0)
    table.add("speedup_over_looped_econml_wall", n, ratio, "x", f"{note}; {workers} threads to 1")
    table.add("largest_difference_over_se", n, max(apart), "se", "other folds, knots, penalty")
    return float(np.mean(cpu))


def _marginal(found: Estimates, j: int, m: int) -> float:
    """The pairwise effect, which is what a pair's own LinearDML estimates."""
    shape, total = found.effects.shape, found.effects.total
    return float(total[shape.b(0)[m, j]] / total[shape.a(0)[j, j]])


def _error(found: Estimates, j: int, m: int) -> float:
    return float(np.sqrt(found.hc0[m * TREATMENTS + j, m * TREATMENTS + j]))


def joint_peer(table: Table, rows: Rows, workers: int, segments: int) -> None:
    """A kinder peer: EconML given all treatments and outcomes in one fit, which few users do."""
    own, _, _ = ours(rows, workers, segments)
    x, d, y = matrices(rows)
    timing, _ = econml_fit(x, d, y, segments)
    table.add("econml_one_joint_fit_cpu", rows.n, timing.cpu, "s", "20 outcomes x 5 treatments")
    table.add("speedup_over_joint_econml_cpu", rows.n, timing.cpu / own.cpu, "x", "same run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--joint-rows", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--out", default="gram_many_effects.csv")
    options = parser.parse_args()
    table = Table()
    rows = bucket_rows(options.rows, 0, 0)
    own: list[float] = []
    for _ in range(options.repeat):
        timing, layout, _ = ours(rows, options.workers, options.segments)
        bare = floor(layout.q, options.rows, layout.block)
        note = f"p = {layout.p}, {options.workers} threads"
        table.add("gram_all_pairs_wall", options.rows, timing.wall, "s", note)
        table.add("gram_all_pairs_cpu", options.rows, timing.cpu, "s", note)
        table.add("bare_dsyrk_cpu", options.rows, bare, "s", f"q = {layout.q}, one thread")
        table.add("cpu_over_bare_dsyrk", options.rows, timing.cpu / bare, "x", "both passes, sort")
        own.append(timing.cpu)
    for n in options.peer_rows:
        few = rows.take(slice(0, n))
        pairs = options.pairs if n < 500_000 else 1
        pair = compare(table, few, options.workers, options.segments, pairs)
        if n < options.rows:
            ratio = PAIRS * pair * options.rows / n / float(np.mean(own))
            note = (
                f"EconML's seconds a row at {n} rows, extrapolated to {options.rows} and 100 pairs"
            )
            table.add("speedup_over_looped_econml_cpu", options.rows, ratio, "x", note)
        table.write(options.out, _command(options))
    if options.joint_rows:
        few = rows.take(slice(0, options.joint_rows))
        joint_peer(table, few, options.workers, options.segments)
    table.write(options.out, _command(options))


def _command(options: argparse.Namespace) -> str:
    peers = " ".join(str(n) for n in options.peer_rows)
    return (
        f"python -m tests.bench.gram_many_effects --rows {options.rows} --peer-rows {peers} "
        f"--joint-rows {options.joint_rows} --pairs {options.pairs} --repeat {options.repeat} "
        f"--segments {options.segments}"
    )


if __name__ == "__main__":
    main()
