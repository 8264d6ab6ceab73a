"""Speed of the corrections on one core, against a plain memory copy and bare numpy passes.

`python -m tests.bench.debias_speed` writes `tests/bench/results/debias_speed.csv`: 10 M rows in
memory already, the fastest and the median of the runs, the ratio to what memory allows. Run it on
an idle machine; one BLAS thread is asked for before numpy loads.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import csv
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from estimators.debias.calibration import calibration_rows
from estimators.debias.density import exact_score
from estimators.debias.linear import fit_linear
from estimators.debias.ppi import sums
from estimators.debias.tweedie import cell_sums, fit_tweedie
from estimators.debias.uncertainty import tweedie_draws

ROWS, RUNS, CALIBRATION, CHECKED = 10_000_000, 7, 2_000, 20_000
RESULT = Path(__file__).parent / "results" / "debias_speed.csv"
HEADER = ("what", "rows", "best_s", "median_s", "against", "ratio", "max_error", "machine")


def timed(work: Callable[[], object]) -> list[float]:
    """Seconds of processor time of each run, ascending: other load does not count."""
    seconds = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return sorted(seconds)


def machine() -> str:
    """Processor and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    names = names or [platform.processor()]
    return f"{names[0]}; python {platform.python_version()}; numpy {np.__version__}"


def main() -> None:
    """Measure, print and write."""
    generator = np.random.default_rng(20261123)
    truth = 2.0 * generator.standard_normal(CALIBRATION)
    f = 0.6 * truth + 0.98 * generator.standard_normal(CALIBRATION)
    rows = calibration_rows(f, truth)
    line, curve = fit_linear(rows), fit_tweedie(rows)
    prediction = 1.55 * generator.standard_normal(ROWS)
    other = prediction + generator.standard_normal(ROWS)
    room = np.empty(ROWS)
    copy = timed(lambda: np.copyto(room, prediction))
    passes = timed(lambda: (prediction.sum(), other.sum(), prediction @ prediction,
                            prediction @ other, other @ other))  # fmt: skip
    seed = np.random.SeedSequence(1)
    measured = {
        "copy": (copy, "copy"),
        "numpy sums and products (5 passes)": (passes, "numpy"),
        "lcc": (timed(lambda: line.apply(prediction, out=room)), "copy"),
        "tweedie": (timed(lambda: curve.apply(prediction, out=room)), "copy"),
        "tweedie, sums by cell": (timed(lambda: cell_sums(curve.grid, prediction, other)), "copy"),
        "ppi, sums of two columns": (timed(lambda: sums(prediction, other)), "numpy"),
        "tweedie, fit of 50 draws": (timed(lambda: tweedie_draws(rows, curve, seed)), "copy"),
    }
    curve.apply(prediction, out=room)
    exact = prediction[:CHECKED] - curve.sigma**2 * exact_score(prediction[:CHECKED], curve.kernel)
    inside = (prediction[:CHECKED] >= curve.low) & (prediction[:CHECKED] <= curve.high)
    error = float(np.max(np.abs(room[:CHECKED] - exact)[inside]))
    found = []
    for what, (seconds, against) in measured.items():
        base = {"copy": copy, "numpy": passes}[against][0]
        found.append({
            "what": what, "rows": CALIBRATION if "fit" in what else ROWS,
            "best_s": f"{seconds[0]:.4f}", "median_s": f"{seconds[RUNS // 2]:.4f}",
            "against": "" if "fit" in what else against,
            "ratio": "" if "fit" in what else f"{seconds[0] / base:.2f}",
            "max_error": f"{error:.2e}" if what == "tweedie" else "", "machine": machine(),
        })  # fmt: skip
        print(
            "{what:36} best {best_s} s  median {median_s} s  {ratio} x {against}".format(
                **found[-1]
            )
        )
    print(f"tweedie: max error against the exact density {error:.2e} on {CHECKED} rows")
    RESULT.parent.mkdir(exist_ok=True)
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    sys.exit(main())
