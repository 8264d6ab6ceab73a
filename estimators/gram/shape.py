"""Where each score element lies in the vector of a unit's, a cluster's or a bucket's scores.

For treatment residuals v (J) and an outcome residual u of a system, partialling out has the
elements ``v v'`` (minus psi_a, the upper triangle) and ``v u`` (psi_b). Every estimate of the
engine is solved from sums of these, and every variance from their second moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from estimators.gram.blas import Doubles, packed_size
from estimators.gram.layout import Layout
from estimators.gram.system import System, systems

Index = NDArray[np.intp]


@dataclass(frozen=True)
class ScoreShape:
    """Positions of the score elements; the effects are outcome by outcome, J treatments each.

    Attributes
    ----------
    treatments
        Names, J.
    systems
        Systems of the layout: each has its own treatment residuals.
    """

    treatments: tuple[str, ...]
    systems: tuple[System, ...]

    @staticmethod
    def of(layout: Layout) -> ScoreShape:
        """The shape of a layout's scores."""
        return ScoreShape(layout.treatments, systems(layout))

    @cached_property
    def outcomes(self) -> tuple[str, ...]:
        """Outcomes in the order of the effects, M of them."""
        return tuple(name for system in self.systems for name in system.outcomes)

    @property
    def effects(self) -> tuple[tuple[str, str], ...]:
        """``(treatment, outcome)`` of each effect."""
        return tuple((d, y) for y in self.outcomes for d in self.treatments)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First element of each system, and the length of the whole vector."""
        j = len(self.treatments)
        sizes = [packed_size(j) + j * len(system.outcomes) for system in self.systems]
        return (0, *np.cumsum(sizes).tolist())

    @property
    def size(self) -> int:
        """Elements of a score vector, L."""
        return self.starts[-1]

    def a(self, system: int) -> Index:
        """``(J, J)`` positions of ``v v'``."""
        j = len(self.treatments)
        index = np.zeros((j, j), dtype=np.intp)
        upper = np.triu_indices(j)
        index[upper] = self.starts[system] + np.arange(packed_size(j))
        index.T[upper] = index[upper]
        return index

    def b(self, system: int) -> Index:
        """``(M_s, J)`` positions of ``u v``."""
        j, m = len(self.treatments), len(self.systems[system].outcomes)
        first = self.starts[system] + packed_size(j)
        return np.arange(first, first + j * m, dtype=np.intp).reshape(m, j)

    def vector(self, system: int, moments: Doubles, out: Doubles) -> None:
        """Write a system's residual moments ``(t, t)`` into its part of a score vector."""
        j = len(self.treatments)
        out[self.a(system)[np.triu_indices(j)]] = moments[:j, :j][np.triu_indices(j)]
        out[self.b(system)] = moments[j:, :j]
