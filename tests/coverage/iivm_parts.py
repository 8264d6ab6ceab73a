"""Why IIVM's standard error is too large at n = 500: each nuisance fitted, or the truth.

``OMP_NUM_THREADS=1 python -m tests.coverage.iivm_parts`` writes ``results/iivm_parts.csv``: mean SE
over the spread on draws of the models' world, many more of them than the grid's, with plain ridge
and ridge-logistic fits (penalty 1, five folds) in place of the learners, which are too slow for it.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from tests.coverage import parts
from tests.coverage.designs import SLOPE, THETA, P
from tests.coverage.models import SHARES
from tests.estimators.samples import expit

Doubles = NDArray[np.float64]

FITTED = ("", "m", "g", "r", "gr", "gm", "rm", "grm")
"""Which nuisances are fitted: of the instrument m, of the outcome g, of the treatment r."""
FIELDS = ("n", "fitted", "draws", "sd", "se_over_sd", "mc_se", "coverage")
FOLDS, PENALTY, CLIP = 5, 1.0, 0.01


def draw(rng: np.random.Generator, n: int) -> tuple[Doubles, ...]:
    """Covariates, instrument, treatment, outcome; the true m, ``(2, n)`` g and ``(2, n)`` r."""
    x = rng.standard_normal((n, P))
    base = x[:, :4] @ np.array([1.0, 0.5, -0.5, 0.25])
    m = expit(0.5 * x[:, 0] - 0.3 * x[:, 2])
    z, kind = (rng.random(n) < m).astype(float), rng.random(n)
    always = kind < SHARES["always"]
    complier = ~always & (kind < SHARES["always"] + SHARES["compliers"])
    e, gain = np.where(complier, z, always.astype(float)), THETA + SLOPE * x[:, 0]
    y = base + (gain + always) * e - 0.5 * complier + rng.standard_normal(n)
    low = base + SHARES["always"] * (gain + 1.0) - 0.5 * SHARES["compliers"]
    g = np.stack([low, low + SHARES["compliers"] * gain])
    r = np.repeat([[SHARES["always"]], [SHARES["always"] + SHARES["compliers"]]], n, axis=1)
    return x, z, e, y, m, g, r


def fits(
    x: Doubles, z: Doubles, targets: Doubles, fold: NDArray[np.int64]
) -> tuple[Doubles, Doubles]:
    """Out-of-fold m, and ``(2, 2, n)`` g and r of each arm."""
    n = len(x)
    design = np.column_stack([np.ones(n), x])
    ridge = PENALTY * np.eye(P + 1)
    ridge[0, 0] = 0.0
    arms, m = np.empty((2, 2, n)), np.empty(n)
    for k in range(FOLDS):
        test, train = fold == k, fold != k
        for arm in (0, 1):
            mine = train & (z == arm)
            own = design[mine]
            slopes = np.linalg.solve(own.T @ own + ridge, own.T @ targets[mine])
            arms[:, arm, test] = (design[test] @ slopes).T
        own, slope = design[train], np.zeros(P + 1)
        for _ in range(6):
            p = expit(own @ slope)
            step = own.T @ (z[train] - p) - ridge @ slope
            slope += np.linalg.solve((own * (p * (1 - p))[:, None]).T @ own + ridge, step)
        m[test] = np.clip(expit(design[test] @ slope), CLIP, 1 - CLIP)
    return m, arms


def aipw(v: Doubles, z: Doubles, g: Doubles, m: Doubles) -> Doubles:
    return g[1] - g[0] + z * (v - g[1]) / m - (1 - z) * (v - g[0]) / (1 - m)


def repeat(rng: np.random.Generator, n: int) -> list[tuple[float, float]]:
    """Theta and SE with each choice of fitted nuisances."""
    x, z, e, y, m, g, r = draw(rng, n)
    fold = rng.permutation(n) % FOLDS
    found_m, (found_g, found_r) = fits(x, z, np.column_stack([y, e]), fold)
    found = []
    for chosen in FITTED:
        used = found_m if "m" in chosen else m
        b = aipw(y, z, found_g if "g" in chosen else g, used)
        a = aipw(e, z, found_r if "r" in chosen else r, used)
        theta = float(b.sum() / a.sum())
        found.append((theta, float(np.sqrt(((b - theta * a) ** 2).sum()) / a.sum())))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, nargs=2, default=(6000, 1500), metavar=("500", "2000"))
    options = parser.parse_args()
    rows = []
    for n, draws in zip((500, 2000), options.draws, strict=True):
        rng = np.random.default_rng(5)
        found = np.array([repeat(rng, n) for _ in range(draws)])
        for place, chosen in enumerate(FITTED):
            theta, se = found[:, place].T
            head = {"n": n, "fitted": parts.named(chosen), "draws": draws}
            rows.append(head | parts.figures(theta, se, THETA))
            print(rows[-1], flush=True)
    parts.write("iivm_parts", FIELDS, rows)


if __name__ == "__main__":
    main()
