"""One effect with XGBoost (PLR): Causeway's cross-fit beside the bare fits, EconML and DoubleML.

``python -m tests.bench.tree_one_effect --rows 1000000 --repeat 1`` writes
``tree_one_effect.csv``. Everyone gets the same rows, folds and settings (100 rounds, depth 6),
all cores, and a process of its own; the order turns with each repetition. Wall seconds begin with
the arrays in memory and end with the estimate and its standard error; a first small fit pays for
imports. Peak memory is the process's; the arrays that all begin with are part of it. Threads that
wait do so asleep (``OMP_WAIT_POLICY=passive``): on a machine with other load, spinning would cost
the peers most.

Memory takes no quiet machine: ``--rounds 2 --repeat 1 --only floor causeway econml doubleml --out
tree_memory.csv``.

The floor is what any cross-fit must do: for each fold one `QuantileDMatrix`, two `xgb.train` on
all cores, two predictions. Processor seconds are compared with the same fits on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jobs.memory import peak
from tests.bench.gram_world import Table
from tests.bench.tree_world import DEPTH, RATE, ROUNDS, effects, model, rows, splits, units

Found = tuple[float, float]
WARM = 2_000


def floor(x: Any, d: Any, y: Any, rounds: int, *, threads: int | None = None) -> Found:
    """The fits alone, and the slope from their residuals."""
    import xgboost as xgb

    threads = threads or os.cpu_count()
    settings = {
        "max_depth": DEPTH, "learning_rate": RATE, "tree_method": "hist",
        "objective": "reg:squarederror", "nthread": threads,
    }  # fmt: skip
    residual = np.empty((2, len(x)))
    for train, test in splits(len(x)):
        matrix = xgb.QuantileDMatrix(x[train], max_bin=256, nthread=threads)
        held_out = x[test]
        for row, target in enumerate((y, d)):
            matrix.set_info(label=target[train])
            booster = xgb.train(settings, matrix, num_boost_round=rounds)
            residual[row, test] = target[test] - booster.inplace_predict(held_out)
    u, v = residual
    theta = float((u * v).sum() / (v * v).sum())
    return theta, float(np.sqrt((v**2 * (u - theta * v) ** 2).sum()) / (v * v).sum())


def floor_on_one_core(x: Any, d: Any, y: Any, rounds: int) -> Found:
    """The fits one after another on one thread: their processor seconds, without any waiting."""
    return floor(x, d, y, rounds, threads=1)


def causeway(x: Any, d: Any, y: Any, rounds: int, *, inline: bool = True) -> Found:
    """Plan, fits where the profile puts them, sums, estimate."""
    from conf.profile import load_profile
    from estimators.crossfit import place, plan, summarise, tasks
    from jobs.fits import fits, workers

    with TemporaryDirectory() as home:
        base = load_profile("local")
        ray = base.ray.model_copy(update={"inline_below": 10**12 if inline else 0})
        profile = base.model_copy(update={"home": Path(home), "ray": ray})
        table = units(x, {"d": d}, {"y": y})
        work = plan(table, effects(["d"], ["y"], rounds))
        todo = tasks(table, work, workers(profile))
        (results,) = fits(table, todo, "", profile, lambda _: None)
    sums = summarise(table, work, 0, place(table, results))
    (scores,) = sums.scores
    theta = -float(scores.psi_b.sum() / scores.psi_a.sum())
    psi = theta * scores.psi_a + scores.psi_b
    return theta, float(np.sqrt((psi**2).sum()) / abs(scores.psi_a.sum()))


def on_ray(x: Any, d: Any, y: Any, rounds: int) -> Found:
    """The same through Ray, its start included."""
    return causeway(x, d, y, rounds, inline=False)


def econml(x: Any, d: Any, y: Any, rounds: int) -> Found:
    """LinearDML without effect modifiers, its default inference."""
    from econml.dml import LinearDML

    cv = splits(len(x))
    peer = LinearDML(model_y=model(rounds), model_t=model(rounds), cv=cv, random_state=0)
    peer.fit(y, d, X=None, W=x)
    found = peer.intercept__inference()
    return float(np.squeeze(found.point_estimate)), float(np.squeeze(found.stderr))


def doubleml(x: Any, d: Any, y: Any, rounds: int) -> Found:
    """DoubleMLPLR, partialling out."""
    from doubleml import DoubleMLData, DoubleMLPLR

    data = DoubleMLData.from_arrays(x, y, d)
    peer = DoubleMLPLR(
        data, ml_l=model(rounds), ml_m=model(rounds), n_folds=5, draw_sample_splitting=False
    )
    peer.set_sample_splitting([splits(len(x))])
    peer.fit()
    return float(peer.coef[0]), float(peer.se[0])


CONTESTANTS: dict[str, Callable[..., Found]] = {
    "floor": floor, "causeway": causeway, "econml": econml, "doubleml": doubleml,
    "floor_on_one_core": floor_on_one_core, "causeway_on_ray": on_ray,
}  # fmt: skip


def one(name: str, n: int, rounds: int) -> dict[str, float]:
    """One contestant in this process: seconds, peak memory over the arrays', its answer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: deprecations inside their own calls
        CONTESTANTS[name](*rows(WARM), 2)
        arrays = rows(n)
        before = _resident()
        wall, cpu = time.perf_counter(), time.process_time()
        theta, se = CONTESTANTS[name](*arrays, rounds)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = peak() / 2**20
    return {"wall": wall, "cpu": cpu, "peak": most, "own": most - before, "theta": theta, "se": se}


def _resident() -> float:
    """Resident memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(name: str, n: int, rounds: int) -> dict[str, float]:
    """One contestant in a process of its own."""
    options = {"one": name, "rows": n, "rounds": rounds}
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.tree_one_effect", *given],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(n: int, rounds: int, repeat: int, names: list[str]) -> Table:
    """All contestants in turn; ratios are of medians of the same run."""
    table = Table()
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(repeat):
        for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
            found = measure(name, n, rounds)
            seen[name].append(found)
            note = f"theta {found['theta']:.4f}, se {found['se']:.5f}"
            table.add(f"{name}_wall", n, found["wall"], "s", note)
            table.add(f"{name}_cpu", n, found["cpu"], "s")
            table.add(f"{name}_peak", n, found["peak"], "MiB", "process")
            table.add(f"{name}_peak_over_arrays", n, found["own"], "MiB")
    middle = {
        name: {key: median(each[key] for each in runs) for key in runs[0]}
        for name, runs in seen.items()
    }
    ours = middle["causeway"]
    for peer in (name for name in names if name != "causeway"):
        for what in ("wall", "cpu", "peak"):
            table.add(f"{what}_over_{peer}", n, ours[what] / middle[peer][what], "x", "same run")
        own = ours["own"] / middle[peer]["own"]
        table.add(f"peak_over_arrays_over_{peer}", n, own, "x", "same run")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--one", choices=CONTESTANTS)
    parser.add_argument("--out", default="tree_one_effect.csv")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.rows, options.rounds)))
        return
    table = compare(options.rows, options.rounds, options.repeat, options.only)
    command = f"python -m tests.bench.tree_one_effect --rows {options.rows}"
    only = "" if options.only == list(CONTESTANTS) else f" --only {' '.join(options.only)}"
    more = f" --rounds {options.rounds} --repeat {options.repeat}{only}"
    table.write(options.out, f"{command}{more} --out {options.out}")


if __name__ == "__main__":
    main()
