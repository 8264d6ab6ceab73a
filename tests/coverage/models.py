"""Coverage of arms, instruments, groups and the other populations of a binary treatment.

``OMP_NUM_THREADS=1 python -m tests.coverage.models`` goes on where an earlier run stopped, and
writes ``results/models.csv``, ``results/models_summary.csv`` and ``results/models.json``.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.effects import EffectSpec
from estimators.learners import Design
from estimators.units import Groups, Units
from tests.coverage.designs import SLOPE, THETA, WORLDS, outcome, truth
from tests.coverage.designs import draw as draw_binary
from tests.coverage.grid import Cell, Family, learners_of, main
from tests.estimators.samples import contrast, effect, expit

Doubles = NDArray[np.float64]

ARMS = np.array([0.0, 0.3, 0.8])
"""Mean outcomes of the arms a, b and c."""
SHARES = {"always": 0.15, "compliers": 0.6}
"""Of units, whatever their covariates; the rest are never treated."""
METHODS = {
    "apo_mean": "apo.mean.arm=c.v",
    "apo_ate": "apo.ate.arm=c.v",
    "pliv": "pliv.slope.t.w",
    "iivm": "iivm.late.e.u",
    "gate_low": "irm.ate.d.h@g=low",
    "gate_high": "irm.ate.d.h@g=high",
    "atu": "irm.atu.d.h",
    "ato": "irm.ato.d.h",
}


def draw(cell: Cell, k: int, seed: np.random.SeedSequence) -> Units:
    """The world's binary treatment, and from draws of their own arms and two instruments.

    ``v`` is an outcome of three arms. ``w`` is one of a dose ``t`` that shares its noise, moved by
    a continuous instrument ``i``. ``u`` is one of a treatment ``e`` that is taken up by kind:
    always, never or with the binary instrument ``z``; kinds differ in their outcomes too.
    """
    own, more = seed.spawn(2)
    units = draw_binary(WORLDS[cell.world], cell.n, k, own)
    rng = np.random.default_rng(more)
    design: Design = units.design
    x = np.asarray(design.values, dtype=np.float64)
    base = outcome(x, WORLDS[cell.world])
    treatments, outcomes = dict(units.treatments), dict(units.outcomes)
    arm = _arms(rng, x)
    treatments |= {f"arm={name}": (arm == code).astype(float) for code, name in enumerate("abc")}
    outcomes["v"] = base + gains(x)[np.arange(cell.n), arm] + rng.standard_normal(cell.n)
    shared = rng.standard_normal(cell.n)
    treatments["i"] = 0.5 * x[:, 0] + rng.standard_normal(cell.n)
    treatments["t"] = 0.6 * treatments["i"] + 0.4 * x[:, 1] + shared
    outcomes["w"] = base + THETA * treatments["t"] + 0.7 * shared + rng.standard_normal(cell.n)
    kind = rng.random(cell.n)
    z = (rng.random(cell.n) < expit(0.5 * x[:, 0] - 0.3 * x[:, 2])).astype(float)
    always = kind < SHARES["always"]
    complier = ~always & (kind < SHARES["always"] + SHARES["compliers"])
    e = np.where(complier, z, always.astype(float))
    gain = THETA + SLOPE * x[:, 0] + 1.0 * always
    outcomes["u"] = base + gain * e - 0.5 * complier + rng.standard_normal(cell.n)
    group = Groups((x[:, 0] > 0).astype(np.int64), ("low", "high"))
    return replace(
        units, treatments=treatments | {"z": z, "e": e}, outcomes=outcomes, groups={"g": group}
    )


def _arms(rng: np.random.Generator, x: Doubles) -> NDArray[np.int64]:
    utility = utilities(x)
    return np.argmax(utility + rng.gumbel(size=utility.shape), axis=1)


def utilities(x: Doubles) -> Doubles:
    """Logits of the arms a, b and c, ``(n, 3)``."""
    return np.stack([np.zeros(len(x)), 0.4 * x[:, 0], 0.5 * x[:, 1] - 0.3 * x[:, 0]], axis=1)


def gains(x: Doubles) -> Doubles:
    """What each arm adds to a unit's outcome, ``(n, 3)``."""
    return ARMS + SLOPE * x[:, :1] * (np.arange(len(ARMS)) == len(ARMS) - 1)


def effects(config: dict[str, Any], cell: Cell) -> tuple[tuple[EffectSpec, ...], dict[str, str]]:
    """The effects of a cell, and each method's effect id."""
    chosen = learners_of(config, cell)
    specs = (
        contrast("c", None, outcome="v", **chosen),
        contrast("c", "a", outcome="v", **chosen),
        replace(
            effect("pliv", "slope", treatment="t", outcome="w", instrument="i", **chosen),
            instrument_kind="continuous",
        ),
        effect("iivm", "late", treatment="e", outcome="u", instrument="z", **chosen),
        effect("irm", "ate", outcome="h", by=(("g",),), **chosen),
        effect("irm", "atu", outcome="h", **chosen),
        effect("irm", "ato", outcome="h", **chosen),
    )
    return specs, METHODS


def target(cell: Cell, method: str) -> float:
    """The estimand. Of the groups, x_0 has mean -+ half, from its law."""
    half = {"interacted": 1.0, "nonlinear": math.sqrt(0.75)}.get(
        WORLDS[cell.world].shape, math.sqrt(2.0 / math.pi)
    )
    match method:
        case "apo_mean" | "apo_ate":
            return float(ARMS[2] - ARMS[0])
        case "gate_low":
            return THETA - SLOPE * half
        case "gate_high":
            return THETA + SLOPE * half
        case "atu" | "ato":
            return truth(WORLDS[cell.world], method)
    return THETA


FAMILY = Family("models", tuple(METHODS), effects, draw, target)

if __name__ == "__main__":
    sys.exit(main(family=FAMILY))
