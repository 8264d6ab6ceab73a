"""Root PEHE of the five meta-learners on a design whose conditional effect is known.

``python -m tests.bench.cate_pehe`` writes ``cate_pehe.csv``: confounded units with
tau(x) = 1 + x0 + max(x1, 0), boosted nuisances and second stages, out of fold; beside the best
constant effect and no effect at all. Mean and standard error over seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from estimators.catalog import META_LEARNERS
from estimators.meta import CateData, Final, cate
from tests.bench.gram_world import Table
from tests.estimators.samples import BOOSTED, Size, build, effect, nuisances


def errors(seed: int, n: int) -> dict[str, float]:
    """Root mean squared error of tau by learner, and of the two baselines."""
    units = build(seed, Size(n, k=5), theta=0.0)
    x, d = units.design.values, units.treatments["d"]
    truth = 1.0 + x[:, 0] + np.maximum(x[:, 1], 0.0)
    units = replace(units, outcomes={"y": units.outcomes["y"] + truth * d})
    learners = {"outcome_learner": BOOSTED, "treatment_learner": BOOSTED}
    named = nuisances(units, effect("irm", "ate", **learners), effect(**learners))
    data = CateData(units.design, units.outcomes["y"], d, units.weight, units.fold[:, 0], **named)
    found = cate(data, META_LEARNERS, Final(BOOSTED))
    guesses = found | {"constant": np.full(n, truth.mean()), "zero": np.zeros(n)}
    return {name: float(np.sqrt(np.mean((tau - truth) ** 2))) for name, tau in guesses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    rows = [errors(seed, options.units) for seed in range(options.seeds)]
    table = Table()
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        se = values.std(ddof=1) / np.sqrt(len(values))
        note = f"standard error {se:.2g} over {options.seeds} seeds"
        table.add(f"root_pehe_{name}", options.units, float(values.mean()), "", note)
    given = f"--units {options.units} --seeds {options.seeds}"
    table.write("cate_pehe.csv", f"python -m tests.bench.cate_pehe {given}")


if __name__ == "__main__":
    main()
