"""Conditional effects of a study: which nuisances they add, and tau of every unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from estimators.crossfit import Plan, plan
from estimators.effects import CateSpec
from estimators.meta import CateData, Final, cate
from estimators.nuisances import Target, passes
from estimators.units import Units, fitting_weight

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Conditional:
    """One learner's conditional effects in one repetition.

    Attributes
    ----------
    rows
        ``(n,)`` bool: units with the outcome.
    tau
        ``(n,)``, NaN outside `rows`.
    """

    effect_id: str
    learner: str
    rep: int
    rows: NDArray[np.bool_]
    tau: Doubles


@dataclass(frozen=True, slots=True)
class CatePlan:
    """What conditional effects add to a study's plan.

    Attributes
    ----------
    specs
        Those that can be had.
    nuisances
        The plan of the effects whose nuisances they use.
    failed
        Error code by effect id.
    """

    specs: tuple[CateSpec, ...]
    nuisances: Plan
    failed: Mapping[str, str]


def plan_cate(units: Units, specs: Sequence[CateSpec]) -> CatePlan:
    """Decide which conditional effects can be had, before any fit."""
    effects = tuple(each for spec in specs for each in (spec.interactive, spec.partial))
    nuisances = plan(units, effects)
    good: list[CateSpec] = []
    failed: dict[str, str] = {}
    for spec in specs:
        codes = [
            nuisances.failed[each.effect_id]
            for each in (spec.interactive, spec.partial)
            if each.effect_id in nuisances.failed
        ]
        if codes:
            failed |= {spec.effect_id(name): codes[0] for name in spec.learners}
        else:
            good.append(spec)
    return CatePlan(tuple(good), nuisances, failed)


def joined(work: Plan, added: CatePlan) -> Plan:
    """The study's plan with the passes of both; what both need is fitted once."""
    if not added.specs:
        return work
    named = [*work.targets.values(), *added.nuisances.targets.values()]
    targets = [target for each in named for target in each.values()]
    return replace(work, passes=passes(targets))


def conditional(
    units: Units,
    added: CatePlan,
    rep: int,
    predictions: Mapping[Target, Doubles],
    final: Final,
) -> list[Conditional]:
    """Conditional effects of one repetition from its out-of-fold predictions.

    Parameters
    ----------
    final
        How second stages are fitted; its learner and repetition are set here.
    """
    found = []
    for spec in added.specs:
        rows = units.rows(added.nuisances.rows[spec.interactive.column])
        nuisance = _nuisances(units, added, spec, predictions, rows)
        data = CateData(
            replace(units.design, values=units.design.values[rows]),
            units.outcomes[spec.interactive.column][rows],
            units.treatments[spec.interactive.treatment][rows],
            fitting_weight(units.weight)[rows],
            units.fold[rows, rep],
            clip=spec.interactive.clip,
            **nuisance,
        )
        stages = replace(final, spec=spec.final, rep=rep)
        for learner, values in cate(data, spec.learners, stages).items():
            tau = np.full(units.n, np.nan)
            tau[rows] = values
            found.append(Conditional(spec.effect_id(learner), learner, rep, rows, tau))
    return found


def _nuisances(
    units: Units,
    added: CatePlan,
    spec: CateSpec,
    predictions: Mapping[Target, Doubles],
    rows: NDArray[np.bool_],
) -> dict[str, Doubles]:
    """g0, g1, m and l of the rows; m as the design gave it where that is known."""
    nuisance: dict[str, Doubles] = {}
    for effect in (spec.partial, spec.interactive):
        targets = added.nuisances.targets[effect.effect_id]
        nuisance |= {name: predictions[target][rows] for name, target in targets.items()}
    known = spec.interactive.propensity
    return nuisance if known is None else nuisance | {"m": units.propensities[known][rows]}
