"""Where the first pass spends its time, beside the bare ``dsyrk`` of the same shape.

``python -m tests.bench.gram_floor`` writes ``gram_floor.csv``: processor seconds per million rows,
one worker, the smallest of several interleaved repetitions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from estimators.gram.accumulate import accumulate
from estimators.gram.blas import one_thread
from estimators.gram.columns import Rows
from estimators.gram.evaluate import Evaluator
from estimators.gram.layout import Layout
from estimators.gram.moments import fit_all
from estimators.gram.pinning import smallest
from estimators.gram.scores import second_pass
from tests.bench.gram_many_effects import floor
from tests.bench.gram_world import Table, bench_layout, bucket_rows, timed


def evaluation(layout: Layout, rows: Rows) -> None:
    """The basis columns alone."""
    evaluator = Evaluator(layout.basis, layout.block)
    columns = evaluator.read(rows.covariates)
    out = np.empty((layout.basis.size, layout.block))
    with one_thread():
        for start in range(0, rows.n - layout.block + 1, layout.block):
            cut = slice(start, start + layout.block)
            evaluator.fill({name: x[cut] for name, x in columns.items()}, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    rows = bucket_rows(options.rows, 0, 0)
    layout = bench_layout(smallest([rows]), 0, options.segments)
    ordered = rows.in_order(layout.buckets(rows.place), rows.fold)
    fitted = fit_all(layout, accumulate(layout, rows))
    parts: dict[str, Callable[[], object]] = {
        "evaluation": lambda: evaluation(layout, ordered),
        "first_pass_sorted_rows": lambda: accumulate(layout, ordered),
        "first_pass": lambda: accumulate(layout, rows),
        "second_pass": lambda: second_pass(layout, rows, fitted),
    }
    best = dict.fromkeys(["bare_dsyrk", *parts], np.inf)
    for _ in range(options.repeat):
        best["bare_dsyrk"] = min(best["bare_dsyrk"], floor(layout.q, rows.n, layout.block))
        for name, part in parts.items():
            with timed() as timing:
                part()
            best[name] = min(best[name], timing.cpu)
    table = Table()
    for name, seconds in best.items():
        note = f"p = {layout.p}, q = {layout.q}, {seconds / best['bare_dsyrk']:.2f} x bare dsyrk"
        table.add(f"{name}_cpu_per_million", rows.n, seconds * 1e6 / rows.n, "s", note)
    share = best["bare_dsyrk"] / best["first_pass_sorted_rows"]
    table.add("dsyrk_share_of_first_pass", rows.n, share, "share", "rows already sorted")
    table.add("dsyrk_share_of_first_pass", rows.n, best["bare_dsyrk"] / best["first_pass"], "share")
    table.write(
        "gram_floor.csv",
        f"python -m tests.bench.gram_floor --rows {options.rows} --segments {options.segments}",
    )


if __name__ == "__main__":
    main()
