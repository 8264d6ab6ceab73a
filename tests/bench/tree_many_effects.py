"""5 treatments x 20 outcomes with XGBoost (PLR), all 100 pairs, beside EconML's loop over pairs.

``python -m tests.bench.tree_many_effects --rows 1000000 --pairs 2`` writes
``tree_many_effects.csv``. Causeway fits 5 + 20 targets a fold, on one binned matrix; EconML's
loop fits two a pair. A few pairs are measured, between two runs of ours, and extrapolated to 100.
Each runs in a process of its own, as in `tree_one_effect`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.bench.gram_world import OUTCOMES, TREATMENTS, Table
from tests.bench.tree_world import ROUNDS, Doubles, effects, model, more, rows, splits, units

PAIRS = TREATMENTS * OUTCOMES
Slopes = list[float]


def causeway(x: Any, doses: Doubles, outcomes: Doubles, rounds: int) -> Slopes:
    """Plan, fits and sums of all pairs; inline, a fit a core."""
    from conf.profile import load_profile
    from estimators.crossfit import place, plan, summarise, tasks
    from jobs.fits import fits, workers

    named = {f"t{j}": column for j, column in enumerate(doses)}
    measured = {f"y{m}": column for m, column in enumerate(outcomes)}
    table = units(x, named, measured)
    with TemporaryDirectory() as home:
        base = load_profile("local")
        ray = base.ray.model_copy(update={"inline_below": 10**12})
        profile = base.model_copy(update={"home": Path(home), "ray": ray})
        work = plan(table, effects(list(named), list(measured), rounds))
        (results,) = fits(table, tasks(table, work, workers(profile)), "", profile, lambda _: None)
    sums = summarise(table, work, 0, place(table, results))
    return [-float(each.psi_b.sum() / each.psi_a.sum()) for each in sums.scores]


def econml(x: Any, doses: Doubles, outcomes: Doubles, rounds: int, *, pair: int) -> Slopes:
    """One pair as a user of EconML would loop over them."""
    from econml.dml import LinearDML

    d, y = doses[pair // OUTCOMES], outcomes[pair % OUTCOMES]
    peer = LinearDML(
        model_y=model(rounds), model_t=model(rounds), cv=splits(len(x)), random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: deprecations inside their own calls
        peer.fit(y, d, X=None, W=x)
    return [float(np.squeeze(peer.intercept__inference().point_estimate))]


def data(n: int) -> tuple[Any, Doubles, Doubles]:
    """Covariates, doses and outcomes: made before the clock starts."""
    return rows(n)[0], *more(n, TREATMENTS, OUTCOMES)


def measure(n: int, rounds: int, pair: int | None) -> dict[str, float | Slopes]:
    """One contestant in a process of its own."""
    given = ["--one", "causeway" if pair is None else str(pair)]
    given += ["--rows", str(n), "--rounds", str(rounds)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.tree_many_effects", *given],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    found: dict[str, float | Slopes] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(name: str, n: int, rounds: int) -> dict[str, float | Slopes]:
    """One contestant in this process; a first small run pays for imports."""
    run = causeway if name == "causeway" else partial(econml, pair=int(name))
    run(*data(2_000), 1)
    arrays = data(n)
    wall, cpu = time.perf_counter(), time.process_time()
    slopes = run(*arrays, rounds)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "theta": slopes}


def compare(table: Table, n: int, rounds: int, pairs: list[int]) -> None:
    """EconML's pairs between two runs of ours."""
    ours = [measure(n, rounds, None)]
    theirs = [measure(n, rounds, pair) for pair in pairs]
    ours.append(measure(n, rounds, None))
    slopes = np.array(ours[0]["theta"])
    apart = [abs(np.array(each["theta"])[0] - slopes[pair]) for each, pair in
             zip(theirs, pairs, strict=True)]  # fmt: skip
    note = f"{PAIRS} pairs extrapolated from {len(pairs)}; same run"
    for what in ("wall", "cpu"):
        mine = mean(float(np.float64(each[what])) for each in ours)
        pair = mean(float(np.float64(each[what])) for each in theirs)
        table.add(f"causeway_all_pairs_{what}", n, mine, "s", "mean of two runs around EconML's")
        table.add(f"econml_one_pair_{what}", n, pair, "s", f"mean of {len(pairs)} pairs")
        table.add(f"speedup_over_looped_econml_{what}", n, PAIRS * pair / mine, "x", note)
    table.add("largest_difference", n, float(max(apart)), "", "same folds, same settings")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--one")
    parser.add_argument("--out", default="tree_many_effects.csv")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.rows, options.rounds)))
        return
    table = Table()
    chosen = [(37 * index) % PAIRS for index in range(options.pairs)]
    compare(table, options.rows, options.rounds, chosen)
    command = f"python -m tests.bench.tree_many_effects --rows {options.rows}"
    table.write(options.out, f"{command} --rounds {options.rounds} --pairs {options.pairs}")


if __name__ == "__main__":
    main()
