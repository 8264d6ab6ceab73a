"""Coverage of 95 % intervals of corrected average effects, and the gate's rates.

A repetition draws a fresh calibration (2,000 or 500 rows) and a fresh trial (10,000 rows). Effects
are Horvitz-Thompson with the true propensity. Cells of the grid:

- `straight`: a channel with a straight E[Yhat | Y]; the paper's people at tau = 2 (or 0.5).
- `mixture`: predictions from two normals, Y = Yhat + noise; Tweedie is exact, LCC not.
- `net`: the paper's embedding and net, fixed; calibration and trial drawn anew.
- `reversed`: P(Y | Yhat) is stable, P(Yhat | Y) is not: the naive effect is right.

The gate reads the calibration rows by arm (`gate`), and the same with weights 1/m (`gate_ipw`).
PPI has 500 labels of the trial.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from estimators.debias.calibration import Calibration, calibration_rows
from estimators.debias.gate import decide
from estimators.debias.labelled import labelled_rows, linear_means, naive_means, tweedie_means
from estimators.debias.linear import LinearCorrection, fit_linear
from estimators.debias.ppi import ppi_mean, sums
from estimators.debias.tweedie import TweedieCorrection, cell_sums, fit_tweedie, weighted_sum
from estimators.debias.uncertainty import draw_covariance, linear_se, tweedie_draws
from tests.coverage.debias.records import collect, read
from tests.coverage.debias.worlds import (
    Channel,
    Doubles,
    Mixture,
    People,
    straight,
    upstream,
)  # fmt: skip

SEED = 20261122
GRID: dict[str, dict[str, Any]] = {
    "straight": {"tau": 2.0, "calibration": 2_000},
    "straight_small": {"tau": 2.0, "calibration": 500},
    "straight_half": {"tau": 0.5, "calibration": 2_000},
    "mixture": {"tau": 2.0, "calibration": 2_000},
    "net": {"tau": 2.0, "calibration": 2_000},
    "reversed": {"tau": 2.0, "calibration": 2_000},
}
TRIAL, LABELS, DRAWS, GATE_DRAWS, SLOPE = 10_000, 500, 50, 100, 0.535
METHODS = ("naive", "lcc", "tweedie", "tweedie_scott", "ppi", "truth")
COLUMNS = (
    *(f"{method}_{part}" for method in METHODS for part in ("theta", "se")),
    "lcc_se_trial", "tweedie_se_trial", "gate", "gate_uses", "gate_ipw",
    "lcc_found", "tweedie_found", "naive_found",
)  # fmt: skip
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Sample:
    """People with predictions."""

    people: People
    prediction: Doubles


@cache
def channel(world: str, tau: float) -> Channel:
    """P(Yhat | Y) of a world."""
    if world.startswith("straight"):
        return straight(SLOPE, tau)
    if world == "mixture":
        return Mixture(np.array([0.5, 0.5]), np.array([0.0, 2.0]), np.array([0.5, 0.5]), 1.2)
    return upstream("net", np.random.SeedSequence(SEED), tau=tau)


def draw(world: str, n: int, tau: float, generator: np.random.Generator) -> Sample:
    """People of a trial and their predictions."""
    people = People.draw(n, tau, generator)
    if world == "reversed":
        # What People calls the outcome is what the map sees; the truth only adds noise to it.
        seen = people.outcome
        truth = seen + 1.2 * generator.standard_normal(n)
        return Sample(People(people.propensity, people.arm, truth), seen)
    return Sample(people, channel(world, tau)(people.outcome, generator))


def calibrate(
    world: str, n: int, tau: float, generator: np.random.Generator
) -> tuple[Calibration, Doubles | None]:
    """Calibration rows and their 1/m; of the mixture world from its two normals, without arms."""
    if world == "mixture":
        mixture = channel(world, tau)
        assert isinstance(mixture, Mixture)
        return calibration_rows(*mixture.calibrate(n, generator)), None
    rows = draw(world, n, tau, generator)
    people = rows.people
    return calibration_rows(rows.prediction, people.outcome, arm=people.label), people.weight


def tweedie(
    calibration: Calibration,
    fitted: TweedieCorrection,
    sample: Sample,
    seed: np.random.SeedSequence,
) -> tuple[float, float, float]:
    """Effect, total standard error, and the trial's own."""
    balance = sample.people.balance
    gamma = balance * fitted.apply(sample.prediction)
    totals = cell_sums(fitted.grid, sample.prediction, balance)
    drawn = [weighted_sum(each, totals) for each in tweedie_draws(calibration, fitted, seed, DRAWS)]
    spread = float(draw_covariance(np.array(drawn)[:, None] / len(gamma))[0, 0])
    trial = float(gamma.std() / np.sqrt(len(gamma)))
    return float(gamma.mean()), float(np.sqrt(trial**2 + spread)), trial


def mean_and_se(gamma: Doubles) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(gamma.mean()), float(gamma.std() / np.sqrt(len(gamma)))


def gates(
    calibration: Calibration, line: LinearCorrection, curve: TweedieCorrection,
    weight: Doubles | None, seed: np.random.SeedSequence,
) -> dict[str, str]:  # fmt: skip
    """The gate on the calibration rows."""
    rows = labelled_rows(calibration, weight=weight)
    if rows is None:
        return {"": "untested", "uses": ""}
    gate = decide(
        naive_means(rows),
        [
            linear_means(rows, line, calibration),
            tweedie_means(rows, curve, calibration, seed, GATE_DRAWS),
        ],
    )
    found = {each.means.candidate: each.found for each in gate.tests}
    return {"": gate.answer, "uses": gate.correction or ""} | found


def repetition(cell: str, seed: np.random.SeedSequence) -> dict[str, Any]:
    """One calibration and one trial."""
    world, tau, n = cell, GRID[cell]["tau"], GRID[cell]["calibration"]
    first, *others = seed.spawn(5)
    generator = np.random.default_rng(first)
    calibration, balance = calibrate(world, n, tau, generator)
    sample = draw(world, TRIAL, tau, generator)
    people, f = sample.people, sample.prediction
    line, curve = fit_linear(calibration), fit_tweedie(calibration)
    plain = fit_tweedie(calibration, density="scott")
    theta, se = mean_and_se(people.balance * line.apply(f))
    known_truth = mean_and_se(people.balance * people.outcome)
    row: dict[str, Any] = {"truth_theta": known_truth[0], "truth_se": known_truth[1]}
    row["naive_theta"], row["naive_se"] = mean_and_se(people.balance * f)
    row |= {"lcc_theta": theta, "lcc_se": linear_se(theta, se, line), "lcc_se_trial": se}
    names = ("tweedie_theta", "tweedie_se", "tweedie_se_trial")
    row |= dict(zip(names, tweedie(calibration, curve, sample, others[0]), strict=True))
    row |= dict(zip(("tweedie_scott_theta", "tweedie_scott_se"),
                    tweedie(calibration, plain, sample, others[1])[:2], strict=True))  # fmt: skip
    known = np.arange(TRIAL) < LABELS
    gamma_y, gamma_f = people.balance * people.outcome, people.balance * f
    powered = ppi_mean(sums(gamma_y[known], gamma_f[known]), sums(gamma_f[~known]))
    row |= {"ppi_theta": powered.theta, "ppi_se": powered.se}
    plainly = gates(calibration, line, curve, None, others[2])
    weighted = gates(calibration, line, curve, balance, others[3])
    row |= {"gate": plainly[""], "gate_uses": plainly["uses"], "gate_ipw": weighted[""]}
    row |= {f"{each}_found": plainly.get(name, "") for each, name in
            {"naive": "none", "lcc": "lcc", "tweedie": "tweedie"}.items()}  # fmt: skip
    return row


def summary(rows: list[dict[str, str]], tau: float) -> list[str]:
    """Coverage with its Monte-Carlo error, bias and spread; then the gate's shares."""
    good = [row for row in rows if not row["error"]]
    lines = [f"{len(rows)} repetitions, {len(rows) - len(good)} failed"]
    for method in METHODS:
        theta = np.array([float(row[f"{method}_theta"]) for row in good])
        se = np.array([float(row[f"{method}_se"]) for row in good])
        share = float(np.sum(np.abs(theta - tau) <= Z * se)) / len(rows)
        error = np.sqrt(share * (1.0 - share) / len(rows))
        lines.append(
            f"{method:14} coverage {share:.3f} ({error:.3f})  bias {theta.mean() - tau:+.4f}  "
            f"sd {theta.std():.4f}  mean se {se.mean():.4f}"
        )
    for key in ("gate", "gate_ipw", "gate_uses", "naive_found", "lcc_found", "tweedie_found"):
        values = sorted({row[key] for row in good})
        shares = {v: round(sum(row[key] == v for row in good) / len(rows), 3) for v in values}
        lines.append(f"{key}: {shares}")
    hits = [
        abs(float(row[f"{used}_theta"]) - tau) <= Z * float(row[f"{used}_se"])
        for row in good
        if (used := {"none": "naive"}.get(row["gate_uses"], row["gate_uses"]))
    ]
    lines.append(f"coverage after the gate {np.mean(hits) if hits else float('nan'):.3f}")
    return lines


if __name__ == "__main__":
    cell = sys.argv[1]
    total = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    config = {"seed": SEED, "cell": cell, **GRID[cell], "trial": TRIAL, "labels": LABELS,
              "draws": DRAWS, "gate_draws": GATE_DRAWS, "slope": SLOPE}  # fmt: skip
    path = collect(
        f"coverage_{cell}", config, COLUMNS, total, lambda _, seed: repetition(cell, seed)
    )
    print("\n".join(summary(read(path), GRID[cell]["tau"])))
