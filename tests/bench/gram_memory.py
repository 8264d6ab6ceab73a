"""Peak memory and time of the Gram engine as rows grow, streamed from generated buckets.

``python -m tests.bench.gram_memory --rows 1000000 3000000 10000000`` writes ``gram_memory.csv``.
Each size runs in a process of its own, so that the peak is its own. The rows are made again for
each pass; the time of making them is measured apart and not part of the engine's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from estimators.gram.columns import Rows
from estimators.gram.engine import estimate
from estimators.gram.pinning import smallest
from jobs.memory import peak
from tests.bench.gram_world import Table, bench_layout, reader

ROWS_A_BUCKET = 65_000


def one(n: int, workers: int, segments: int) -> dict[str, float]:
    """Run one size in this process."""
    depth = max(0, round(np.log2(n / ROWS_A_BUCKET)))
    buckets, make = reader(n, depth)
    made, guard = 0.0, threading.Lock()

    def read(bucket: int) -> Rows:
        nonlocal made
        began = time.thread_time()
        rows = make(bucket)
        with guard:
            made += time.thread_time() - began
        return rows

    layout = bench_layout(smallest([make(0)]), depth, segments)
    wall, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        found = estimate(layout, buckets, read, pool.map)
    cpu = time.process_time() - cpu
    assert found.sums.n == n
    error = found.effects.theta.reshape(-1, 5) - [1.0, -0.5, 0.25, 0.0, 0.0]
    return {
        "peak": peak() / 2**20,
        "wall": time.perf_counter() - wall,
        "engine_cpu": cpu - made,
        "made_cpu": made,
        "error": float(np.abs(error).max()),
        "se": float(np.sqrt(np.diagonal(found.hc0)).max()),
        "depth": depth,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--alone", type=int, default=0)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(one(options.alone, options.workers, options.segments)))
        return
    table = Table()
    first: dict[str, float] = {}
    for n in options.rows:
        command = [sys.executable, "-m", "tests.bench.gram_memory", "--alone", str(n)]
        command += ["--workers", str(options.workers), "--segments", str(options.segments)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(answer.stdout)
        first = first or found | {"n": n}
        note = f"{options.workers} threads, 2^{found['depth']} buckets"
        table.add("peak_memory", n, found["peak"], "MiB", note)
        table.add("peak_memory_over_first", n, found["peak"] / first["peak"], "x")
        table.add("engine_cpu", n, found["engine_cpu"], "s", "both passes, without making rows")
        table.add("making_rows_cpu", n, found["made_cpu"], "s", "two times")
        table.add("wall", n, found["wall"], "s", "with making rows, shared machine")
        growth = found["engine_cpu"] / first["engine_cpu"] * first["n"] / n
        table.add("engine_cpu_over_linear", n, growth, "x", "1 is linear growth from the first")
        table.add("largest_error_over_se", n, found["error"] / found["se"], "se", "100 effects")
    sizes = " ".join(str(n) for n in options.rows)
    table.write("gram_memory.csv", f"python -m tests.bench.gram_memory --rows {sizes}")


if __name__ == "__main__":
    main()
