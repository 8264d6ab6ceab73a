"""Coverage grid: do the intervals cover as often as they say? A row a repetition, resumable.

``OMP_NUM_THREADS=1 python -m tests.coverage.grid`` goes on where an earlier run stopped, and
writes ``results/grid.csv`` (a row a repetition), ``results/grid_summary.csv`` and
``results/grid.json`` (what it ran on).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from estimators.effects import EffectSpec
from tests.coverage.designs import WORLDS, draw, truth
from tests.estimators.samples import crossfit, effect, estimates

HERE = Path(__file__).parent
METHODS = {"plr": ("slope", "y"), "ate": ("ate", "h"), "att": ("att", "h")}
FIGURES = ("theta", "se", "low", "high")
COLUMNS = ["cell", "rep", *(f"{m}_{f}" for m in METHODS for f in FIGURES), "seconds", "error"]
BIAS, RATIO, COVERAGE = 0.15, (0.93, 1.07), (0.925, 0.975)
"""A cell passes with abs(bias) / sd, mean se / sd and coverage inside these."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One world, size and learner."""

    world: str
    n: int
    learner: str
    repetitions: int
    bad: bool = False

    @property
    def name(self) -> str:
        return f"{self.world}-{self.n}-{self.learner}"

    def seeds(self) -> list[np.random.SeedSequence]:
        """A seed a repetition, from the cell's name: cells can be added without moving others."""
        return np.random.SeedSequence(zlib.crc32(self.name.encode())).spawn(self.repetitions)


def read(path: Path) -> tuple[dict[str, Any], list[Cell]]:
    """The configuration and its cells."""
    config = yaml.safe_load(path.read_text())
    return config, [Cell(**each) for each in config["cells"]]


def effects(config: dict[str, Any], cell: Cell) -> dict[str, EffectSpec]:
    """The three effects of a cell."""
    learners = config["learners"][cell.learner]
    chosen = {
        "outcome_learner": learners["outcome"],
        "treatment_learner": learners["treatment"],
    }
    return {
        name: effect("plr" if name == "plr" else "irm", estimand, outcome=outcome, **chosen)
        for name, (estimand, outcome) in METHODS.items()
    }


def repeat(config: dict[str, Any], cell: Cell, rep: int, seed: np.random.SeedSequence) -> dict:
    """One repetition; what goes wrong is in the row."""
    began = time.perf_counter()
    row: dict[str, Any] = {"cell": cell.name, "rep": rep, "error": ""}
    try:
        units = draw(WORLDS[cell.world], cell.n, config["folds"], seed)
        specs = effects(config, cell)
        _, sums = crossfit(units, tuple(specs.values()), str(rep))
        found = estimates(units, sums, level=config["level"], drawn=False)
        for name, spec in specs.items():
            each = found[spec.effect_id]
            values = each.theta, each.se, each.ci_low, each.ci_high
            row |= {
                f"{name}_{figure}": format(value, ".7g")
                for figure, value in zip(FIGURES, values, strict=True)
            }
    except Exception as error:  # a failed repetition is a row with its error
        row["error"] = f"{type(error).__name__}: {error}"
    return row | {"seconds": format(time.perf_counter() - began, ".3f")}


def done(path: Path) -> set[tuple[str, int]]:
    """Repetitions that are recorded."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["cell"], int(row["rep"])) for row in csv.DictReader(file)}


def run(config: dict[str, Any], cells: Sequence[Cell], path: Path) -> None:
    """Append the missing repetitions; says after 1 % how long it will take."""
    known = done(path)
    todo = [
        (cell, rep, seed)
        for cell in cells
        for rep, seed in enumerate(cell.seeds())
        if (cell.name, rep) not in known
    ]
    # The first repetition of each cell comes first, so that the projection knows all of them.
    todo.sort(key=lambda each: each[1] // max(each[0].repetitions // 100, 1))
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for count, (cell, rep, seed) in enumerate(todo, 1):
            writer.writerow(repeat(config, cell, rep, seed))
            file.flush()
            if count == max(len(todo) // 100, 1):
                left = (time.perf_counter() - began) / count * (len(todo) - count)
                print(f"{count} of {len(todo)} repetitions; {left / 60:.1f} minutes to go")


def summarise(cells: Sequence[Cell], path: Path) -> Iterator[dict[str, Any]]:
    """Bias, spread and coverage of every cell and method, with Monte-Carlo errors."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for cell in cells:
        mine = [row for row in rows if row["cell"] == cell.name]
        good = [row for row in mine if not row["error"]]
        for method, (estimand, _) in METHODS.items():
            theta, se, low, high = (
                np.array([float(row[f"{method}_{figure}"]) for row in good]) for figure in FIGURES
            )
            target = truth(WORLDS[cell.world], estimand)
            sd = theta.std(ddof=1)
            coverage = float(((low <= target) & (target <= high)).mean())
            figures = {
                "truth": target,
                "bias": theta.mean() - target,
                "bias_over_sd": (theta.mean() - target) / sd,
                "sd": sd,
                "se_over_sd": se.mean() / sd,
                "coverage": coverage,
                "coverage_mc_se": math.sqrt(coverage * (1 - coverage) / len(good)),
                "length": (high - low).mean(),
            }
            head = {"cell": cell.name, "method": method, "bad": cell.bad}
            counts = {"repetitions": len(good), "failed": len(mine) - len(good)}
            yield (
                head
                | counts
                | {k: format(v, ".4f") for k, v in figures.items()}
                | {"passed": passes(figures)}
            )


def passes(figures: dict[str, Any]) -> bool:
    """Whether a cell's figures are those of valid inference."""
    return (
        abs(float(figures["bias_over_sd"])) <= BIAS
        and RATIO[0] <= float(figures["se_over_sd"]) <= RATIO[1]
        and COVERAGE[0] <= float(figures["coverage"]) <= COVERAGE[1]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid and summarise it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "grid.yaml")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--repetitions", type=int, help="at most so many a cell: a trial")
    options = parser.parse_args(arguments)
    config, cells = read(options.config)
    path = options.results / "grid.csv"
    chosen = cells
    if options.repetitions:
        chosen = [
            Cell(c.world, c.n, c.learner, min(c.repetitions, options.repetitions), c.bad)
            for c in cells
        ]
    run(config, chosen, path)
    table = list(summarise(chosen, path))
    with (options.results / "grid_summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    libraries = ("numpy", "scipy", "scikit-learn", "xgboost")
    with path.open(newline="") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    meta = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in libraries},
        "seconds": round(seconds, 1),
        "command": "OMP_NUM_THREADS=1 python -m tests.coverage.grid",
    }
    (options.results / "grid.json").write_text(json.dumps(meta, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
