"""Coverage of IIVM with the instrument's propensity fitted, and known.

``OMP_NUM_THREADS=1 python -m tests.coverage.iivm`` goes on where an earlier run stopped, and
writes ``results/iivm.csv``, ``results/iivm_summary.csv`` and ``results/iivm.json``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from estimators.effects import EffectSpec
from estimators.units import Units
from tests.coverage import models
from tests.coverage.designs import THETA
from tests.coverage.grid import Cell, Family, learners_of, main
from tests.estimators.samples import effect, expit

METHODS = {"iivm": "iivm.late.e.u", "iivm_known": "iivm.late.e.k"}


def draw(cell: Cell, k: int, seed: np.random.SeedSequence) -> Units:
    """The models' draw; ``k`` is ``u`` again, for the effect whose propensity is known."""
    units = models.draw(cell, k, seed)
    x = np.asarray(units.design.values, dtype=np.float64)
    known = expit(0.5 * x[:, 0] - 0.3 * x[:, 2])
    return replace(
        units,
        treatments={name: units.treatments[name] for name in ("e", "z")},
        outcomes={"u": units.outcomes["u"], "k": units.outcomes["u"].copy()},
        propensities={"p": known},
    )


def effects(config: dict[str, Any], cell: Cell) -> tuple[tuple[EffectSpec, ...], dict[str, str]]:
    """The two effects."""
    same = {"treatment": "e", "instrument": "z"} | learners_of(config, cell)
    fitted = effect("iivm", "late", outcome="u", **same)
    return (fitted, effect("iivm", "late", outcome="k", propensity="p", **same)), METHODS


FAMILY = Family("iivm", tuple(METHODS), effects, draw, lambda _cell, _method: THETA)

if __name__ == "__main__":
    sys.exit(main(family=FAMILY))
