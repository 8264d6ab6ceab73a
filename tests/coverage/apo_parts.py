"""Why APO's standard errors are too large where columns are many: each nuisance fitted or known.

``OMP_NUM_THREADS=1 python -m tests.coverage.apo_parts`` writes ``results/apo_parts.csv``: mean SE
over the spread in the cells of ``gram.yaml`` that are too wide, with the engine's own fits, on more
draws than theirs (the first are theirs). It takes the better part of an hour of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn import config_context

from estimators.crossfit import summarise
from estimators.nuisances import Target
from estimators.units import Units
from tests.coverage import gram, grid, models, parts
from tests.coverage.designs import WORLDS, Doubles, outcome
from tests.estimators.samples import estimates

FITTED = ("", "g", "m", "gm")
"""Which nuisances are fitted: outcomes g of the arms, propensities m."""
METHODS = ("apo_mean", "apo_ate")
WIDE = ("linear-500-lines", "sparse_20-500-lines_500", "sparse-2000-lines")
FIELDS = ("cell", "method", "fitted", "draws", "bias_over_sd", "se_over_sd", "mc_se", "coverage")


def truths(units: Units, cell: grid.Cell) -> dict[str, Doubles]:
    """Propensity of each arm (``arm=c``) and mean outcome in it (``v|arm=c``), ``(n,)`` each."""
    x = np.asarray(units.design.values, dtype=np.float64)
    base, odds = outcome(x, WORLDS[cell.world]), np.exp(models.utilities(x))
    found = {}
    for code, name in enumerate("abc"):
        found[f"arm={name}"] = odds[:, code] / odds.sum(axis=1)
        found[f"v|arm={name}"] = base + models.gains(x)[:, code]
    return found


def true_name(target: Target) -> str:
    """The name of a target among `truths`."""
    return f"{target.variable}|{target.arm[0]}" if target.arm else target.variable


def repeat(
    config: dict, cell: grid.Cell, seed: np.random.SeedSequence
) -> Iterator[tuple[str, str, float, float]]:
    """Theta and SE of each method with each choice of fitted nuisances."""
    units = models.draw(cell, config["folds"], seed)
    specs, named = gram.effects(config, cell)
    specs = tuple(each for each in specs if each.effect_id in [named[name] for name in METHODS])
    plan, rep, fitted = gram.predictions(units, specs)
    true = truths(units, cell)
    for chosen in FITTED:
        used = {
            target: values if ("g" if target.arm else "m") in chosen else true[true_name(target)]
            for target, values in fitted.items()
        }
        found = estimates(units, [summarise(units, plan, rep, used)], drawn=False)
        for method in METHODS:
            yield method, chosen, found[named[method]].theta, found[named[method]].se


def rows_of(config: dict, cell: grid.Cell) -> Iterator[dict[str, object]]:
    """Figures of a cell from all its draws."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in cell.seeds():
        for method, chosen, theta, se in repeat(config, cell, seed):
            found.setdefault((method, chosen), []).append((theta, se))
    for (method, chosen), pairs in found.items():
        theta, se = np.array(pairs).T
        head = {
            "cell": cell.name, "method": method, "fitted": parts.named(chosen), "draws": len(theta)
        }  # fmt: skip
        yield head | parts.figures(theta, se, gram.target(cell, method))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3000)
    options = parser.parse_args()
    config, cells = grid.read(grid.HERE / "gram.yaml")
    rows = []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for cell in cells:
            if cell.name in WIDE:
                for row in rows_of(config, replace(cell, repetitions=options.draws)):
                    print(row, flush=True)
                    rows.append(row)
    parts.write("apo_parts", FIELDS, rows)


if __name__ == "__main__":
    main()
