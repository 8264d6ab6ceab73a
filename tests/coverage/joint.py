"""Coverage of several treatments in one joint fit.

``OMP_NUM_THREADS=1 python -m tests.coverage.joint`` goes on where an earlier run stopped, and
writes ``results/joint.csv``, ``results/joint_summary.csv`` and ``results/joint.json``.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from estimators.effects import EffectSpec
from estimators.units import Units
from tests.coverage.designs import THETA, WORLDS
from tests.coverage.designs import draw as draw_binary
from tests.coverage.grid import Cell, Family, learners_of, main
from tests.estimators.samples import effect

TRUTHS = {"joint_d": THETA, "joint_t": 0.3, "joint_s": 0.0}
"""Effects of the binary treatment, of a dose that it moves, and of one that does nothing."""
NAMES = ("d", "t", "s")


def draw(cell: Cell, k: int, seed: np.random.SeedSequence) -> Units:
    """The world's binary treatment ``d`` with two doses, from draws of their own.

    ``t`` moves with ``d``, and ``s`` with ``t``: one at a time, each would have the others'
    effects. The world's outcome ``y`` has the effect of ``d``; that of ``t`` is added. Where the
    world has clusters, the doses' noise is the cluster's by half, as the world's own is.
    """
    own, more = seed.spawn(2)
    units = draw_binary(WORLDS[cell.world], cell.n, k, own)
    rng = np.random.default_rng(more)
    x, d = np.asarray(units.design.values, dtype=np.float64), units.treatments["d"]
    noise = rng.standard_normal((2, cell.n))
    if units.cluster is not None and units.clusters is not None:
        shared = rng.standard_normal((2, units.clusters))[:, units.cluster]
        noise = np.sqrt(0.5) * (noise + shared)
    t = 0.5 * x[:, 0] + 0.8 * d + noise[0]
    s = 0.4 * x[:, 1] + 0.6 * t + noise[1]
    y = units.outcomes["y"] + TRUTHS["joint_t"] * t
    return replace(units, treatments={"d": d, "t": t, "s": s}, outcomes={"y": y})


def effects(config: dict[str, Any], cell: Cell) -> tuple[tuple[EffectSpec, ...], dict[str, str]]:
    """The effects of a cell, and each method's effect id."""
    chosen = learners_of(config, cell)
    specs = tuple(
        replace(
            effect(treatment=name, joint=NAMES, **chosen),
            treatment_kind="binary" if name == "d" else "continuous",
        )
        for name in NAMES
    )
    return specs, {f"joint_{each.treatment}": each.effect_id for each in specs}


FAMILY = Family("joint", tuple(TRUTHS), effects, draw, lambda _cell, method: TRUTHS[method])

if __name__ == "__main__":
    sys.exit(main(family=FAMILY))
