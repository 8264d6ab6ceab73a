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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn import config_context

from estimators.crossfit import Sums
from estimators.effects import EffectSpec
from estimators.units import Units
from tests.coverage.designs import WORLDS, draw, truth
from tests.estimators.samples import crossfit, effect, estimates

HERE = Path(__file__).parent
METHODS = {"plr": ("slope", "y"), "ate": ("ate", "h"), "att": ("att", "h")}
FIGURES = ("theta", "se", "low", "high")
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


Fit = Callable[[Units, tuple[EffectSpec, ...], str], list[Sums]]


def by_rows(units: Units, specs: tuple[EffectSpec, ...], salt: str) -> list[Sums]:
    """Nuisances by learners of one fold: the path of rows."""
    return crossfit(units, specs, salt)[1]


@dataclass(frozen=True, slots=True)
class Family:
    """Models that are estimated on one draw.

    Attributes
    ----------
    stem
        Of the files: ``<stem>.yaml``, ``results/<stem>.csv``.
    methods
        Their names in the rows.
    effects
        Effects to estimate and the effect id of each method, from configuration and cell.
    draw
        Units of a cell from a seed and a number of folds.
    truth
        The estimand of a method in a cell.
    fit
        From units, effects and a salt to the sums of each repetition.
    """

    stem: str
    methods: tuple[str, ...]
    effects: Callable[[dict[str, Any], Cell], tuple[tuple[EffectSpec, ...], dict[str, str]]]
    draw: Callable[[Cell, int, np.random.SeedSequence], Units]
    truth: Callable[[Cell, str], float]
    fit: Fit = by_rows

    @property
    def columns(self) -> list[str]:
        """Columns of a row."""
        figures = (f"{method}_{figure}" for method in self.methods for figure in FIGURES)
        return ["cell", "rep", *figures, "seconds", "error"]


def read(path: Path) -> tuple[dict[str, Any], list[Cell]]:
    """The configuration and its cells."""
    config = yaml.safe_load(path.read_text())
    return config, [Cell(**each) for each in config["cells"]]


def learners_of(config: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """A cell's learners as an effect takes them."""
    learners = config["learners"][cell.learner]
    return {
        "outcome_learner": learners["outcome"],
        "treatment_learner": learners["treatment"],
    }


def _effects(config: dict[str, Any], cell: Cell) -> tuple[tuple[EffectSpec, ...], dict[str, str]]:
    """The three effects of a cell."""
    chosen = learners_of(config, cell)
    found = {
        name: effect("plr" if name == "plr" else "irm", estimand, outcome=outcome, **chosen)
        for name, (estimand, outcome) in METHODS.items()
    }
    return tuple(found.values()), {name: each.effect_id for name, each in found.items()}


BINARY = Family(
    "grid",
    tuple(METHODS),
    _effects,
    lambda cell, k, seed: draw(WORLDS[cell.world], cell.n, k, seed),
    lambda cell, method: truth(WORLDS[cell.world], METHODS[method][0]),
)
"""PLR, ATE and ATT of a binary treatment."""


def repeat(
    config: dict[str, Any],
    cell: Cell,
    rep: int,
    seed: np.random.SeedSequence,
    family: Family = BINARY,
) -> dict:
    """One repetition; what goes wrong is in the row."""
    began = time.perf_counter()
    row: dict[str, Any] = {"cell": cell.name, "rep": rep, "error": ""}
    try:
        units = family.draw(cell, config["folds"], seed)
        specs, named = family.effects(config, cell)
        # Half of a small fit is scikit-learn's validation of arrays that are known to be sound.
        with config_context(assume_finite=True, skip_parameter_validation=True):
            sums = family.fit(units, specs, str(rep))
        found = estimates(units, sums, level=config["level"], drawn=False)
        for name, effect_id in named.items():
            each = found[effect_id]
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


def run(config: dict[str, Any], cells: Sequence[Cell], path: Path, family: Family = BINARY) -> None:
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
        writer = csv.DictWriter(file, family.columns, lineterminator="\n")
        if new:
            writer.writeheader()
        for count, (cell, rep, seed) in enumerate(todo, 1):
            writer.writerow(repeat(config, cell, rep, seed, family))
            file.flush()
            if count == max(len(todo) // 100, 1):
                left = (time.perf_counter() - began) / count * (len(todo) - count)
                print(f"{count} of {len(todo)} repetitions; {left / 60:.1f} minutes to go")


def summarise(
    cells: Sequence[Cell], path: Path, family: Family = BINARY
) -> Iterator[dict[str, Any]]:
    """Bias, spread and coverage of every cell and method, with Monte-Carlo errors."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for cell in cells:
        mine = [row for row in rows if row["cell"] == cell.name]
        good = [row for row in mine if not row["error"]]
        for method in family.methods:
            theta, se, low, high = (
                np.array([float(row[f"{method}_{figure}"]) for row in good]) for figure in FIGURES
            )
            target = family.truth(cell, method)
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


def main(arguments: Sequence[str] | None = None, family: Family = BINARY) -> int:
    """Run the grid and summarise it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / f"{family.stem}.yaml")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--repetitions", type=int, help="at most so many a cell: a trial")
    options = parser.parse_args(arguments)
    config, cells = read(options.config)
    path = options.results / f"{family.stem}.csv"
    chosen = cells
    if options.repetitions:
        chosen = [
            Cell(c.world, c.n, c.learner, min(c.repetitions, options.repetitions), c.bad)
            for c in cells
        ]
    run(config, chosen, path, family)
    table = list(summarise(chosen, path, family))
    with (options.results / f"{family.stem}_summary.csv").open("w", newline="") as file:
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
        "command": f"OMP_NUM_THREADS=1 python -m tests.coverage.{family.stem}",
    }
    (options.results / f"{family.stem}.json").write_text(json.dumps(meta, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
