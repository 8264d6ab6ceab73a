"""Effective clusters: by hand, and where intervals cover and where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from estimators.catalog import CHECKS
from estimators.checks import IMPLEMENTATIONS
from estimators.checks.clusters import leverage
from estimators.inference import FamilySums, estimate
from estimators.tallies import Tallies
from tests.estimators.samples import effect

SPEC = effect()
LEAST = float((CHECKS["clusters"].metrics["effective"].threshold or "").removeprefix(">= "))


def family(n: np.ndarray, a: np.ndarray, b: np.ndarray) -> FamilySums:
    """One effect with a cell a cluster; units stand alike in their cluster."""
    unit = np.array([np.sum(p * q / n) for p, q in ((a, a), (a, b), (b, b))]).reshape(3, 1, 1)
    size = len(n)
    return FamilySums(
        (SPEC.effect_id,), np.zeros(size, np.int64), np.arange(size), n.astype(np.int64), a, b,
        unit, None, np.array([size]),
    )  # fmt: skip


def effective(*sums: FamilySums) -> float | None:
    (found,) = IMPLEMENTATIONS["clusters"].run(Tallies(leverage(sums)), SPEC)
    return found.value


def slope(rng: np.random.Generator, sizes: np.ndarray, d: np.ndarray) -> FamilySums:
    """A slope of 1 on a treatment by cluster (or by unit), with noise by cluster and unit."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    d = d[cluster] if len(d) == len(sizes) else d
    shared = rng.standard_normal(len(sizes))[cluster] * np.where(d > 0, 1.0, 0.3)
    y = d + shared + rng.standard_normal(len(cluster))
    v = d - d.mean()
    a, b = -v * v, v * (y - y.mean())
    return family(sizes, np.bincount(cluster, a), np.bincount(cluster, b))


def test_by_hand() -> None:
    n = np.array([5, 5, 5])
    assert effective(family(n, np.array([-2.0, -2.0, -2.0]), n)) == pytest.approx(3.0)
    assert effective(family(n, np.array([-8.0, -1.0, -1.0]), n)) == pytest.approx(100 / 66)
    assert effective(family(n, np.array([-4.0, 0.0, 0.0]), n)) == pytest.approx(1.0)
    both = [family(n, np.array(a), n) for a in ([-1.0, -1.0, -1.0], [-1.0, 0.0, 0.0])]
    assert effective(*both) == pytest.approx(2.0), "the mean over repetitions"
    assert effective() is None
    assert effective(family(n, np.zeros(3), n)) == 0.0


def test_a_calibrations_share_is_no_cluster() -> None:
    n = np.array([5, 5, 0])
    sums = family(np.array([5, 5, 5]), np.array([-1.0, -1.0, -9.0]), n)
    assert effective(FamilySums(sums.ids, sums.column, sums.cell, n, sums.a, sums.b, sums.unit,
                                None, sums.clusters)) == pytest.approx(2.0)  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "treated", "covers"),
    [
        ([40] * 20, 10, True),
        ([40] * 20, 2, False),
        ([1_000] + [15] * 12, None, False),
        ([83] * 13, None, True),
    ],
)
def test_what_passes_covers_and_what_does_not_fails(
    sizes: list[int], treated: int | None, covers: bool
) -> None:
    """`treated` clusters of so many; None for a coin tossed for every unit."""
    rng, many = np.random.default_rng(7), np.array(sizes)
    inside, found = 0, []
    for _ in range(300):
        by_unit = (rng.random(many.sum()) < 0.5).astype(np.float64)
        d = by_unit if treated is None else (np.arange(len(many)) < treated).astype(np.float64)
        sums = slope(rng, many, d)
        (each,) = estimate([sums], 0.95)
        assert each.ci_low is not None
        assert each.ci_high is not None
        inside += each.ci_low <= 1.0 <= each.ci_high
        found.append(effective(sums) or 0.0)
    assert (min(found) >= LEAST) == covers
    assert (inside / 300 >= 0.91) == covers, inside / 300
