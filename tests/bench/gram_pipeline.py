"""The crossfit stage on the Gram engine, from committed feature files: memory, time, reuse.

``python -m tests.bench.gram_pipeline --rows 1000000 10000000`` writes ``gram_pipeline.csv``. The
features are those of `gram_lake`; making them is not timed, and ``--prepare`` makes them
beforehand. Each run is a process of its own: peak memory is the largest resident set of that
process, its threads inline. Rows and scratch of 50 M rows take 45 GB of disk on a grid of 256.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs import crossfit, estimate, ledger, memory
from jobs.estimate import read_effects
from jobs.gram import compute
from tests.bench.gram_lake import DAYS, commit, prepare, study, window
from tests.bench.gram_world import Table, bucket_rows, matrices, timed


def one(home: Path, workers: int) -> dict[str, float]:
    """The stage, and the effects from its sums."""
    found, profile, key = window(home, workers)
    built = ledger.find(profile.record_root, "features", key)
    assert built is not None
    walks: list[float] = []
    tables = compute.moments_table

    def noted(*given: Any) -> pa.Table:
        walks.append(_peak())
        return tables(*given)

    compute.moments_table = noted  # the first of the record's tables: both walks are over
    with timed() as fits:
        stage = crossfit.run(found, built, profile, _Told())
    assert stage.status == "computed"
    peak = _peak()
    with timed() as sums:
        done = estimate.run(found, stage, profile)
    rows = read_effects(profile.record_root, done.key)
    truth = {"t0": 1.0, "t1": -0.5, "t2": 0.25}
    near = [
        abs(each["theta"] - truth.get(each["treatment"], 0.0)) / each["se"]
        for each in rows
        if each["method"] == "plr"
    ]
    detail, table = stage.detail or {}, Path(profile.record_root, "gram_partials")
    return {
        "peak": peak,
        "peak_of_walks": walks[0],
        "peak_with_estimate": _peak(),
        "crossfit_wall": fits.wall,
        "crossfit_cpu": fits.cpu,
        "estimate_wall": sums.wall,
        "estimate_cpu": sums.cpu,
        "effects": len(rows),
        "rows": built.rows,
        "near": max(near, default=math.nan),
        "blocks": detail["gram"]["blocks"],
        "partials": sum(each.stat().st_size for each in table.glob("*.parquet")) / 1e6,
    }


class _Told:
    """Progress on stderr, every ten seconds."""

    def __init__(self) -> None:
        self.last = self.began = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.last > 10.0:  # seconds
            self.last = now
            at = f"{now - self.began:.0f} s, {_peak():.0f} MiB at most"
            print(f"{stage}: {note}, {done:,} of {total:,} ({at})", file=sys.stderr, flush=True)


def _peak() -> float:
    """Largest resident set of this process so far, MiB."""
    return memory.peak() / 2**20


def alone(home: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.gram_pipeline", "--alone", str(home)]
    answer = subprocess.run(
        [*command, "--workers", str(workers)], check=True, stdout=subprocess.PIPE, text=True
    )
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def measure(table: Table, n: int, options: argparse.Namespace, first: dict[str, float]) -> None:
    """A size's figures; its home is made where it is not there, and deleted unless kept."""
    binary = options.method == "irm"
    name = f"gram-{options.method}-{n}-grid-{options.grid}"
    home = Path(options.scratch or tempfile.gettempdir()) / name
    text = study(options.segments, options.slice_days, options.method)
    try:
        prepare(home, n, text, options.grid, binary=binary)
        if options.prepare:
            return
        found = alone(home, options.workers)
        first.update({} if first else found)
        rows = int(found["rows"])
        note = f"{options.workers} threads, {found['blocks']:.0f} blocks"
        table.add("peak_memory_of_both_walks", rows, found["peak_of_walks"], "MiB", "before tables")
        growth = found["peak_of_walks"] / first["peak_of_walks"]
        table.add("peak_memory_of_both_walks_over_first", rows, growth, "x")
        table.add("peak_memory", rows, found["peak"], "MiB", note)
        table.add("peak_memory_with_estimate", rows, found["peak_with_estimate"], "MiB", note)
        table.add("peak_memory_over_first", rows, found["peak"] / first["peak"], "x")
        for name in ("crossfit_wall", "crossfit_cpu", "estimate_wall", "estimate_cpu"):
            table.add(name, rows, found[name], "s", f"{found['effects']:.0f} effects with HC0")
        growth = found["crossfit_cpu"] / first["crossfit_cpu"] * first["rows"] / rows
        table.add("crossfit_cpu_over_linear", rows, growth, "x", "1 is linear from the first")
        table.add("partials_on_disk", rows, found["partials"], "MB")
        if not binary:  # of halved treatments the truth is another
            note = "all effects, known truth"
            table.add("largest_error_over_se", rows, found["near"], "se", note)
        if options.peer_rows:
            peer(table, rows, found["crossfit_cpu"] + found["estimate_cpu"], options)
        if n <= options.reuse_up_to:
            commit(home, n, range(DAYS), options.grid, binary=binary)
            again = alone(home, options.workers)
            per_row = again["crossfit_cpu"] / again["rows"] / found["crossfit_cpu"] * found["rows"]
            note = f"{DAYS - 1} of {DAYS} days from the table"
            table.add(
                "crossfit_cpu_with_a_new_day", int(again["rows"]), again["crossfit_cpu"], "s", note
            )
            table.add(
                "cpu_a_row_with_a_new_day_over_scratch", int(again["rows"]), per_row, "x", note
            )
    finally:
        kept = options.prepare or (options.keep and n > options.reuse_up_to)  # as it was made
        if not kept:
            shutil.rmtree(home, ignore_errors=True)


def peer(table: Table, rows: int, own: float, options: argparse.Namespace) -> None:
    """One pair in EconML, with the same learner class; the loop over all pairs is extrapolated."""
    from tests.bench.gram_many_effects import PAIRS, econml_fit  # its memory is not ours

    batch = bucket_rows(options.peer_rows, 0, 0)
    x, d, y = matrices(batch)
    timing, _ = econml_fit(x, d[:, 0], y[:, 0], options.segments)
    table.add("econml_one_pair_cpu", options.peer_rows, timing.cpu, "s", "one BLAS thread")
    ratio = PAIRS * timing.cpu * rows / options.peer_rows / own
    note = f"crossfit and estimate stage; one pair at {options.peer_rows} rows, extrapolated"
    table.add("speedup_over_looped_econml_cpu", rows, ratio, "x", note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--slice-days", type=int, default=1)
    parser.add_argument("--reuse-up-to", type=int, default=0)
    parser.add_argument("--peer-rows", type=int, default=0)
    parser.add_argument("--method", choices=["plr", "irm"], default="plr")
    parser.add_argument("--grid", type=int, default=0, help="steps of a unit; 0: any double")
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--keep", action="store_true", help="leave the features for another run")
    parser.add_argument("--prepare", action="store_true", help="make the features and stop")
    parser.add_argument("--out", default="gram_pipeline.csv")
    parser.add_argument("--alone", default="")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(one(Path(options.alone), options.workers)), flush=True)
        os._exit(0)  # as the command leaves: Arrow's readers may abort a slower end
    table, first = Table(), dict[str, float]()
    sizes = " ".join(str(n) for n in options.rows)
    for n in options.rows:
        measure(table, n, options, first)
        if options.prepare:
            continue
        table.write(
            options.out,
            f"python -m tests.bench.gram_pipeline --rows {sizes} --segments {options.segments} "
            f"--slice-days {options.slice_days} --reuse-up-to {options.reuse_up_to} "
            f"--peer-rows {options.peer_rows} --grid {options.grid} --method {options.method}",
        )


if __name__ == "__main__":
    main()
