"""The tasks that both can do, beside dml-rs (PyPI, Rust, 0.19): one effect, and 5 x 20 effects.

``uv pip install dml-rs==0.19.0`` first: nothing else here needs it. Then ``python -m
tests.bench.dml_rs --trees 100000 --splines 100000`` writes ``dml_rs.csv``. Two tasks:

- one PLR effect with XGBoost: the same settings, rows and folds, so the same fits and the same
  estimate. dml-rs has no XGBoost of its own; it takes scikit-learn's regressors.
- the 5 x 20 PLR effects of `gram_many_effects` with cubic splines and a ridge: our Gram engine
  beside dml-rs's own ridge (`Ols`) in Rust on the same basis, expanded once outside its clock. A
  fit of several treatments in dml-rs takes the others as covariates, another model: so it loops
  over pairs. A few are measured and 100 extrapolated.

Each runs in a process of its own, all cores; peak memory is the process's, the rows among it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from tests.bench.gram_many_effects import PAIRS, ours
from tests.bench.gram_world import (
    FOLDS,
    OUTCOMES,
    TREATMENTS,
    Table,
    bucket_rows,
    matrices,
    timed,
)
from tests.bench.tree_one_effect import WARM, causeway
from tests.bench.tree_world import model, rows, splits

SEGMENTS = 2
Found = dict[str, float]


def trees_causeway(n: int, rounds: int) -> Found:
    """One effect, our cross-fit inline."""
    causeway(*rows(WARM), 2)
    given = rows(n)
    with timed() as timing:
        theta, se = causeway(*given, rounds)
    return {"wall": timing.wall, "cpu": timing.cpu, "theta": theta, "se": se}


def trees_dml_rs(n: int, rounds: int) -> Found:
    """The same fits, called by dml-rs."""
    from dml_rs import PLR

    def fit(x: Any, d: Any, y: Any, rounds: int) -> Any:
        learners = {"ml_l": model(rounds), "ml_m": model(rounds)}
        return PLR(**learners, n_folds=FOLDS).fit(x, y, d, folds=splits(len(x)))

    fit(*rows(WARM), 2)
    given = rows(n)
    with timed() as timing:
        found = fit(*given, rounds)
    return {"wall": timing.wall, "cpu": timing.cpu, "theta": float(found.coef_[0]),
            "se": float(found.se_[0])}  # fmt: skip


def splines_causeway(n: int, _: int) -> Found:
    """All 100 pairs of the Gram engine; theta is that of the first."""
    ours(bucket_rows(WARM, 0, 0), 1, SEGMENTS)
    given = bucket_rows(n, 0, 0)
    with timed() as timing:
        _, _, found = ours(given, os.cpu_count() or 1, SEGMENTS)
    shape, total = found.effects.shape, found.effects.total
    theta = float(total[shape.b(0)[0, 0]] / total[shape.a(0)[0, 0]])
    return {"wall": timing.wall, "cpu": timing.cpu, "theta": theta, "se": 0.0}


def splines_dml_rs(n: int, pairs: int) -> Found:
    """A few pairs with its own ridge, the basis ready; means a pair."""
    from dml_rs import PLR, Ols

    x, d, y = matrices(bucket_rows(n, 0, 0))
    spline = SplineTransformer(
        n_knots=SEGMENTS + 1, degree=3, extrapolation="linear", include_bias=False
    )
    basis = make_pipeline(spline, StandardScaler()).fit_transform(x)
    theta, se = [], []
    with timed() as timing:
        for pair in range(pairs):
            ridge = Ols(ridge=1e-4 * n)
            found = PLR(ml_l=ridge, ml_m=ridge, n_folds=FOLDS).fit(
                basis, y[:, (7 * pair) % OUTCOMES], d[:, pair % TREATMENTS]
            )
            theta.append(float(found.coef_[0]))
            se.append(float(found.se_[0]))
    return {"wall": timing.wall / pairs, "cpu": timing.cpu / pairs, "theta": theta[0],
            "se": se[0]}  # fmt: skip


CONTESTANTS: dict[str, Callable[[int, int], Found]] = {
    "trees_causeway": trees_causeway, "trees_dml_rs": trees_dml_rs,
    "splines_causeway": splines_causeway, "splines_dml_rs": splines_dml_rs,
}  # fmt: skip


def measure(name: str, n: int, more: int) -> Found:
    """One contestant in a process of its own."""
    given = ["--one", name, "--rows", str(n), "--more", str(more)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.dml_rs", *given],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def trees(table: Table, n: int, rounds: int) -> None:
    """One effect: the same fits, so the same estimate."""
    us, them = (measure(f"trees_{name}", n, rounds) for name in ("causeway", "dml_rs"))
    for name, found in (("causeway", us), ("dml_rs", them)):
        table.add(f"trees_{name}_wall", n, found["wall"], "s", f"{rounds} rounds")
        table.add(f"trees_{name}_cpu", n, found["cpu"], "s", f"{rounds} rounds")
        table.add(f"trees_{name}_peak", n, found["peak"], "MiB", "process")
    for what in ("wall", "cpu", "peak"):
        table.add(f"trees_{what}_over_dml_rs", n, us[what] / them[what], "x", "same run")
    table.add("trees_difference", n, abs(us["theta"] - them["theta"]), "", "same folds and fits")


def splines(table: Table, n: int, pairs: int) -> None:
    """5 x 20 effects: ours in one pass, theirs pair by pair."""
    us, them = measure("splines_causeway", n, 0), measure("splines_dml_rs", n, pairs)
    for what in ("wall", "cpu"):
        table.add(f"splines_causeway_all_pairs_{what}", n, us[what], "s", "basis made in the pass")
        table.add(f"splines_dml_rs_one_pair_{what}", n, them[what], "s", f"mean of {pairs} pairs")
        note = f"{PAIRS} pairs extrapolated from {pairs}; same run"
        table.add(f"splines_speedup_{what}", n, PAIRS * them[what] / us[what], "x", note)
    table.add("splines_causeway_peak", n, us["peak"], "MiB", "process")
    table.add("splines_dml_rs_peak", n, them["peak"], "MiB", "process")
    table.add("splines_peak_over_dml_rs", n, us["peak"] / them["peak"], "x", "same run")
    apart = abs(us["theta"] - them["theta"]) / them["se"]
    table.add("splines_difference_over_se", n, apart, "se", "first pair; other folds and penalty")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, nargs="*", default=[100_000])
    parser.add_argument("--splines", type=int, nargs="*", default=[100_000])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--one", choices=CONTESTANTS)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--more", type=int, default=0)
    options = parser.parse_args()
    if options.one:
        found = CONTESTANTS[options.one](options.rows, options.more)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        print(json.dumps(found | {"peak": peak}))
        return
    table = Table()
    for n in options.trees:
        trees(table, n, options.rounds)
    for n in options.splines:
        splines(table, n, options.pairs)
    lists = [f"--{name} {' '.join(map(str, getattr(options, name)))}" for name in
             ("trees", "splines")]  # fmt: skip
    command = f"python -m tests.bench.dml_rs {' '.join(lists)}"
    table.write("dml_rs.csv", f"{command} --rounds {options.rounds} --pairs {options.pairs}")


if __name__ == "__main__":
    main()
