"""Several treatments at once: a block of J effects that solve V'V theta = V'U over all residuals.

With treatment residuals v = d - m, ``(J,)`` a unit, and the outcome residual u = y - l, the score
of a block is ``psi = -v v' theta + v u``: psi_a is a matrix, psi_b a vector. One treatment at a
time would give each the effects of those that move with it. Source: Chernozhukov et al. 2018 (the
partially linear model with a vector of treatments).

Solved, a block is J effects of one psi_a and one psi_b each (Frisch and Waugh 1933; Lovell 1963):
with T the rows of (V'V)^-1 scaled to a diagonal of one, and v~ = T v what the other treatments
leave of each,

    psi_a~_j = -v~_j v_j,   psi_b~_j = v~_j (u - sum over k != j of theta_k v_k).

Their sums give the same theta, and psi_a~ theta + psi_b~ = v~ (u - v'theta) the same influence, so
that variances, clusters, contrasts and bands are those of any effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from estimators.cells import CellSums, EffectScores, sum_cells
from estimators.dependence import correlation_of, dependent
from estimators.units import Groups, Units

Doubles = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class JointScores:
    """Residuals of one block in one repetition.

    Attributes
    ----------
    effects
        Effect ids, length J: a treatment each, all on one outcome.
    rows
        ``(n,)`` bool: the units that the block is estimated on.
    v, u
        ``(J, n)`` and ``(n,)`` residuals of treatments and outcome, zero outside `rows`.
    """

    effects: tuple[str, ...]
    rows: NDArray[np.bool_]
    v: Doubles
    u: Doubles


def triangle(size: int) -> list[tuple[int, int]]:
    """The elements of a block's psi_a, each once: its diagonal first, then the pairs above it."""
    above = [(j, k) for j in range(size) for k in range(j + 1, size)]
    return [(j, j) for j in range(size)] + above


def element_ids(effects: Sequence[str]) -> list[str]:
    """Names of the elements, as in ``moments``: an effect's own, then ``first * second``."""
    named = [(effects[j], effects[k]) for j, k in triangle(len(effects))]
    return [first if first == second else f"{first} * {second}" for first, second in named]


def places(size: int) -> Index:
    """``(J, J)`` place of each element of the matrix in the order of `triangle`."""
    index = np.zeros((size, size), dtype=np.intp)
    for place, (j, k) in enumerate(triangle(size)):
        index[j, k] = index[k, j] = place
    return index


def elements(block: JointScores) -> list[EffectScores]:
    """A score for each element: psi_b belongs to the diagonal, the others have none."""
    nothing = np.zeros(len(block.u))
    return [
        EffectScores(
            name,
            block.rows,
            -(block.v[j] * block.v[k]),
            block.v[j] * block.u if j == k else nothing,
        )
        for name, (j, k) in zip(
            element_ids(block.effects), triangle(len(block.effects)), strict=True
        )
    ]


def block_cells(units: Units, rep: int, block: JointScores, groups: Groups | None) -> CellSums:
    """Sums of a block by cell: `a` is ``(C, J * J)``, row by row."""
    size = len(block.effects)
    sums = sum_cells(units, rep, elements(block), groups)
    own = slice(0, size)
    return replace(
        sums,
        effects=block.effects,
        n=sums.n[:, own],
        w=sums.w[:, own],
        a=sums.a[:, places(size).ravel()],
        b=sums.b[:, own],
    )


@dataclass(frozen=True, slots=True)
class Solution:
    """A block solved from its sums.

    Attributes
    ----------
    theta
        ``(J,)``; of treatments in a sum, one of the many solutions.
    own
        ``(J, J)`` T: what of each residual the other treatments leave. Rows of zeros for those
        that do not vary, or that are sums of others or part of one: they have no effect.
    """

    theta: Doubles
    own: Doubles

    def a(self, psi_a: Doubles) -> Doubles:
        """``(..., J)`` psi_a~ of sums ``(..., J, J)`` of psi_a."""
        return np.asarray((self.own * np.swapaxes(psi_a, -1, -2)).sum(axis=-1))

    def b(self, psi_a: Doubles, psi_b: Doubles) -> Doubles:
        """``(..., J)`` psi_b~ of sums of psi_a and ``(..., J)`` of psi_b."""
        theta = self.theta
        rest = (psi_a * theta).sum(axis=-1)[..., None, :] - np.swapaxes(psi_a * theta, -1, -2)
        return np.asarray((self.own * (psi_b[..., None, :] + rest)).sum(axis=-1))

    def maps(self) -> tuple[Doubles, Doubles, Doubles]:
        """``(J, elements)`` maps of the elements' sums: a~ = first a, b~ = second a + third b."""
        size = len(self.theta)
        index = places(size)
        one, two = (np.zeros((size, len(triangle(size)))) for _ in range(2))
        three = np.zeros_like(one)
        three[:, :size] = self.own
        for j in range(size):
            for k in range(size):
                one[j, index[k, j]] += self.own[j, k]
                for other in range(size):
                    if other != j:
                        two[j, index[k, other]] += self.own[j, k] * self.theta[other]
        return one, two, three


def solve_block(psi_a: Doubles, psi_b: Doubles) -> Solution:
    """Solve a block from its sums over all that is pooled: folds, windows, a group's rows.

    Parameters
    ----------
    psi_a, psi_b
        ``(J, J)`` and ``(J,)`` sums of w psi_a and w psi_b.
    """
    size = len(psi_b)
    theta, own = np.zeros(size), np.zeros((size, size))
    scale = np.sqrt(np.clip(-np.diagonal(psi_a), 0.0, None))
    varying = np.flatnonzero(np.isfinite(scale) & (scale > 0.0))
    taken, tied = dependent(correlation_of(-psi_a[np.ix_(varying, varying)]))
    kept, lost = varying[taken], set(varying[tied].tolist())
    inverse = np.linalg.inv(-psi_a[np.ix_(kept, kept)])
    theta[kept] = inverse @ psi_b[kept]
    for place, j in enumerate(kept.tolist()):
        if j not in lost:
            own[j, kept] = inverse[place] / inverse[place, place]
    return Solution(theta, own)


def solved_scores(block: JointScores, weight: Doubles) -> list[EffectScores]:
    """Scores of a block's effects in one repetition, solved over all units.

    Parameters
    ----------
    weight
        ``(n,)`` sampling weights.
    """
    size = len(block.effects)
    psi_a, psi_b = np.zeros((size, size)), np.zeros(size)
    for j in range(size):
        psi_b[j] = np.sum(weight * block.v[j] * block.u)
        for k in range(size):
            psi_a[j, k] = -np.sum(weight * block.v[j] * block.v[k])
    solution = solve_block(psi_a, psi_b)
    found = []
    for j, name in enumerate(block.effects):
        own, rest = np.zeros(len(block.u)), block.u.copy()
        for k in range(size):
            own += solution.own[j, k] * block.v[k]
            if k != j:
                rest -= solution.theta[k] * block.v[k]
        found.append(EffectScores(name, block.rows, -(own * block.v[j]), own * rest))
    return found
