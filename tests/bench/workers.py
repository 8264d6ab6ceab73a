"""One effect with XGBoost (PLR) on a Ray of one worker and of two: what the second one brings.

``python -m tests.bench.workers --rows 1000000 --repeat 3`` writes ``workers.csv``. Each turn is a
process of its own with a Ray of so many CPUs, a thread a fit; the order of one and two turns about.
The clock begins with the arrays in memory and Ray running, its workers with everything imported by
a small fit, and ends with the estimate: arrays into the object store, fits, predictions, sums.

``machine`` is what two cores can bring at best: the bare fits of one fold on one thread, alone, and
twice at once in two processes. Cores that share a cache or a clock bring less than 2.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from conf.profile import Profile, load_profile
from tests.bench.gram_world import Table
from tests.bench.tree_world import DEPTH, RATE, ROUNDS, effects, rows, splits, units

WARM = 2_000
MODULE = "tests.bench.workers"


def place(home: str, workers: int) -> Profile:
    """The local profile with so many CPUs for Ray."""
    base = load_profile("local")
    given = {"inline_below": 0, "num_cpus": workers, "object_store_memory": 2_000_000_000}
    return base.model_copy(
        update={"home": Path(home), "ray": base.ray.model_copy(update=given)}
    )  # fmt: skip


def estimate(arrays: Any, rounds: int, profile: Profile) -> float:
    """Plan, fits on the Ray that runs, sums: the slope."""
    from estimators.crossfit import place as placed
    from estimators.crossfit import plan, summarise, tasks
    from jobs.fits import fits, workers

    x, d, y = arrays
    table = units(x, {"d": d}, {"y": y})
    work = plan(table, effects(["d"], ["y"], rounds))
    todo = tasks(table, work, workers(profile))
    (results,) = fits(table, todo, "", profile, lambda _: None)
    (scores,) = summarise(table, work, 0, placed(table, results)).scores
    return -float(scores.psi_b.sum() / scores.psi_a.sum())


def on_ray(n: int, rounds: int, workers: int) -> dict[str, Any]:
    """Wall seconds of one estimate in this process, on a Ray of its own."""
    from jobs.engines import ray_cluster

    with TemporaryDirectory() as home:
        profile = place(home, workers)
        arrays = rows(n)
        with ray_cluster(profile):
            estimate(rows(WARM), 2, profile)
            began = time.perf_counter()
            theta = estimate(arrays, rounds, profile)
            return {"wall": time.perf_counter() - began, "theta": theta.hex()}


def bare(n: int, rounds: int) -> None:
    """The fits of one fold on one thread; starts at a word, ends with its seconds."""
    import xgboost as xgb

    x, d, y = rows(n)
    train, test = splits(n)[0]
    settings = {"max_depth": DEPTH, "learning_rate": RATE, "tree_method": "hist", "nthread": 1}
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    matrix = xgb.QuantileDMatrix(x[train], max_bin=256, nthread=1)
    held_out = x[test]
    for target in (y, d):
        matrix.set_info(label=target[train])
        xgb.train(settings, matrix, num_boost_round=rounds).inplace_predict(held_out)
    print(time.perf_counter() - began, flush=True)


def at_once(n: int, rounds: int, count: int) -> float:
    """Seconds of the slowest of so many bare processes that start together."""
    running = [
        subprocess.Popen(
            _command("bare", n, rounds), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return max(float(each.communicate()[0]) for each in running)


def _command(one: str, n: int, rounds: int) -> list[str]:
    given = ("--one", one, "--rows", str(n), "--rounds", str(rounds))
    return [sys.executable, "-m", MODULE, *given]


def measure(n: int, rounds: int, workers: int) -> dict[str, Any]:
    """One turn in a process of its own."""
    done = subprocess.run(
        _command(str(workers), n, rounds), capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(n: int, rounds: int, repeat: int) -> Table:
    """One and two workers in turn; ratios are of medians of the same run."""
    table = Table()
    walls: dict[int, list[float]] = {1: [], 2: []}
    bares: dict[int, list[float]] = {1: [], 2: []}
    answers = set()
    for turn in range(repeat):
        for count in (1, 2) if turn % 2 == 0 else (2, 1):
            found = measure(n, rounds, count)
            walls[count].append(found["wall"])
            answers.add(found["theta"])
            table.add(f"{count}_workers_wall", n, found["wall"], "s", f"theta {found['theta']}")
            bares[count].append(at_once(n, rounds, count))
            table.add(f"{count}_bare_at_once", n, bares[count][-1], "s", "one fold, one thread")
    assert len(answers) == 1, "the number of workers shows in the result"
    ours, machine = median(walls[1]) / median(walls[2]), 2 * median(bares[1]) / median(bares[2])
    table.add("speedup_of_two_workers", n, ours, "x", "same run; equal bits")
    table.add("speedup_of_the_machine", n, machine, "x", "same run; two bare processes")
    table.add("share_of_the_machine", n, ours / machine, "", "same run")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", choices=("1", "2", "bare"))
    parser.add_argument("--out", default="workers.csv")
    options = parser.parse_args()
    if options.one == "bare":
        bare(options.rows, options.rounds)
    elif options.one:
        print(json.dumps(on_ray(options.rows, options.rounds, int(options.one))))
        sys.stdout.flush()
        os._exit(0)
    else:
        table = compare(options.rows, options.rounds, options.repeat)
        command = f"python -m {MODULE} --rows {options.rows} --rounds {options.rounds}"
        table.write(options.out, f"{command} --repeat {options.repeat}")


if __name__ == "__main__":
    main()
