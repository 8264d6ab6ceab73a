"""Units and effects built from a seed: the data of the tests and of the coverage grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.catalog import METHODS
from estimators.cells import EffectScores, sum_cells, sum_moments
from estimators.crossfit import Plan, Sums, fit, place, plan, summarise, tasks
from estimators.effects import EffectSpec, Spec
from estimators.inference import Estimate, FamilySums, estimate
from estimators.learners import Design
from estimators.nuisances import Target
from estimators.scores import score
from estimators.tallies import Tallies
from estimators.units import Groups, Units
from jobs.sums import cells_table, families, moments_table

Doubles = NDArray[np.float64]

LINEAR: Spec = {"learner": "linear", "penalty": 1.0}
CONSTANT: Spec = {"learner": "constant"}
BOOSTED: Spec = {
    "learner": "xgboost",
    "max_depth": 3,
    "learning_rate": 0.1,
    "n_estimators": 20,
    "min_child_weight": 1.0,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "reg_lambda": 1.0,
    "reg_alpha": 0.0,
    "gamma": 0.0,
    "max_bin": 64,
}


def expit(x: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-x))


@dataclass(frozen=True, slots=True)
class Size:
    """How many of everything."""

    n: int = 240
    p: int = 4
    k: int = 4
    reps: int = 1
    clusters: int | None = None
    groups: int = 0


def build(
    seed: int,
    size: Size | None = None,
    *,
    theta: float = 0.5,
    weighted: bool = False,
    missing: float = 0.0,
    category: bool = False,
    missing_outcome: float = 0.0,
) -> Units:
    """Confounded units: treatments ``d`` (binary) and ``t`` (dose), outcomes ``y, z, s``.

    A categorical treatment ``arm`` (a, b, c), an instrument ``b`` of ``d`` and ``v`` of ``t``.

    ``y`` is continuous, ``z`` binary, ``s`` continuous with rows missing. Nothing is an integer
    by chance: sums of whole numbers are exact in any order and would prove nothing.
    """
    size = size or Size()
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size.n, size.p))
    index = 0.6 * x[:, 0] - 0.4 * x[:, 1]
    d = (rng.random(size.n) < expit(index)).astype(np.float64)
    t = 0.7 * index + rng.standard_normal(size.n)
    cluster = None if size.clusters is None else np.arange(size.n) % size.clusters
    shock = 0.0 if cluster is None else rng.standard_normal(int(size.clusters or 0))[cluster]
    base = x[:, 0] + 0.5 * x[:, 1] ** 2 + shock + rng.standard_normal(size.n)
    y = theta * d + base
    z = (rng.random(size.n) < expit(0.5 * d + x[:, 0])).astype(np.float64)
    s = theta * t + base
    s[rng.random(size.n) < missing_outcome] = np.nan
    values, categories = x.copy(), {}
    if category:
        values[:, -1] = rng.integers(0, 3, size.n)
        categories[size.p - 1] = ("a", "b", "c")
    values[rng.random(values.shape) < missing] = np.nan
    weight = rng.uniform(0.3, 2.7, size.n) if weighted else np.ones(size.n)
    groups = {}
    if size.groups:
        groups["g"] = Groups(
            rng.integers(0, size.groups, size.n), tuple(f"g{i}" for i in range(size.groups))
        )
    return _units(
        Design(values, tuple(f"x{j}" for j in range(size.p)), categories),
        {"d": d, "t": t, **_more(seed, index, d, t)}, {"y": y, "z": z, "s": s}, size,
        weight=weight, cluster=cluster, groups=groups,
    )  # fmt: skip


def _more(seed: int, index: Doubles, d: Doubles, t: Doubles) -> dict[str, Doubles]:
    """Arms and instruments, from draws of their own: the other columns stay as they were."""
    rng = np.random.default_rng([seed, 1])
    utility = np.stack([index, -0.5 * index, 0.3 * np.ones_like(index)], axis=1)
    arm = np.argmax(utility + rng.gumbel(size=utility.shape), axis=1)
    arms = {f"arm={name}": (arm == code).astype(np.float64) for code, name in enumerate("abc")}
    b = (rng.random(len(d)) < expit(1.5 * d - 0.7 + 0.3 * index)).astype(np.float64)
    return arms | {"b": b, "v": 0.6 * t + 0.2 * index + rng.standard_normal(len(t))}


def from_arrays(
    design: Design,
    treatments: Mapping[str, Doubles],
    outcomes: Mapping[str, Doubles],
    *,
    k: int = 5,
    reps: int = 1,
    weight: Doubles | None = None,
    cluster: NDArray[np.int64] | None = None,
    groups: Mapping[str, Groups] | None = None,
) -> Units:
    """Units of given arrays, with folds that rotate over units (or clusters)."""
    n = len(design.values)
    clusters = None if cluster is None else int(cluster.max()) + 1
    size = Size(n, design.values.shape[1], k, reps, clusters)
    weights = np.ones(n) if weight is None else weight
    return _units(
        design, treatments, outcomes, size, weight=weights, cluster=cluster, groups=groups or {}
    )


def _units(
    design: Design,
    treatments: Mapping[str, Doubles],
    outcomes: Mapping[str, Doubles],
    size: Size,
    *,
    weight: Doubles,
    cluster: NDArray[np.int64] | None,
    groups: Mapping[str, Groups],
) -> Units:
    owner = np.arange(size.n) if cluster is None else cluster
    count = size.n if size.clusters is None else size.clusters
    ranks = [np.random.default_rng([99, rep]).permutation(count) for rep in range(size.reps)]
    fold = np.stack([rank[owner] % size.k for rank in ranks], axis=1).astype(np.int16)
    ids = tuple(f"c{i:06d}" for i in range(count))
    return Units(
        design, treatments, outcomes, weight, fold, owner.astype(np.int64), ids,
        None if cluster is None else cluster.astype(np.int64), size.clusters,
        bucketed=False, groups=groups,
    )  # fmt: skip


def bucket(units: Units, buckets: int = 7) -> Units:
    """The same units with cells that are buckets of the owners, as above ``CELLS_MAX``."""
    names = tuple(f"bucket:{i:04d}" for i in range(buckets))
    return replace(units, cell=units.cell * 2654435761 % buckets, cells=names, bucketed=True)


def take(units: Units, rows: NDArray[np.intp]) -> Units:
    """Units of some rows, in that order; clusters and cells keep their numbers."""
    return replace(
        units,
        design=replace(units.design, values=units.design.values[rows]),
        treatments={name: values[rows] for name, values in units.treatments.items()},
        outcomes={name: values[rows] for name, values in units.outcomes.items()},
        weight=units.weight[rows],
        fold=units.fold[rows],
        cell=units.cell[rows],
        cluster=None if units.cluster is None else units.cluster[rows],
        groups={n: replace(each, codes=each.codes[rows]) for n, each in units.groups.items()},
    )


def effect(method: str = "plr", estimand: str = "slope", **changes: Any) -> EffectSpec:
    """An effect of ``d`` on ``y`` with linear nuisances, unless changed."""
    changes = {
        "treatment": "d",
        "outcome": "y",
        "outcome_learner": LINEAR,
        "treatment_learner": LINEAR,
    } | changes
    kinds = {"t": "continuous", "arm": "categorical"}
    kind = kinds.get(changes["treatment"], "binary")
    if "instrument" in changes:
        changes["instrument_kind"] = "continuous" if changes["instrument"] == "v" else "binary"
    outcome_kind = "binary" if changes["outcome"] == "z" else "continuous"
    return EffectSpec(
        method, estimand, treatment_kind=kind, outcome_kind=outcome_kind, **changes
    )  # fmt: skip


def trio(**changes: Any) -> tuple[EffectSpec, ...]:
    """PLR, ATE and ATT of ``d`` on ``y``."""
    return (
        effect(**changes),
        effect("irm", "ate", **changes),
        effect("irm", "att", **changes),
    )


def contrast(arm: str, control: str | None, **changes: Any) -> EffectSpec:
    """An arm's mean of ``arm`` on ``y``; of a control arm, the difference from it."""
    estimand = "ate" if control else "mean"
    return effect("apo", estimand, treatment="arm", arm=arm, control=control, **changes)


def instrumented(**changes: Any) -> tuple[EffectSpec, ...]:
    """PLIV of ``d`` and of the dose ``t``, IIVM of ``d``, on ``y``."""
    return (
        effect("pliv", "slope", instrument="b", **changes),
        effect("pliv", "slope", instrument="v", **({"treatment": "t"} | changes)),
        effect("iivm", "late", instrument="b", **changes),
    )


def irm(**changes: Any) -> tuple[EffectSpec, ...]:
    """Every estimand of IRM of ``d`` on ``y``."""
    return tuple(effect("irm", each, **changes) for each in METHODS["irm"].estimands)


def predict(units: Units, work: Plan, salt: str = "") -> list[dict[Target, Doubles]]:
    """Out-of-fold predictions, a dictionary a repetition."""
    todo = tasks(units, work)
    return [
        place(units, [(task, fit(units, task, salt)) for task in todo if task.rep == rep])
        for rep in range(units.fold.shape[1])
    ]


def nuisances(units: Units, *specs: EffectSpec) -> dict[str, Doubles]:
    """Out-of-fold predictions by nuisance of effects that share them."""
    work = plan(units, specs)
    predictions = place(units, [(task, fit(units, task, "")) for task in tasks(units, work)])
    return {
        name: predictions[target]
        for spec in specs
        for name, target in work.targets[spec.effect_id].items()
    }


def crossfit(
    units: Units, effects: tuple[EffectSpec, ...], salt: str = ""
) -> tuple[Plan, list[Sums]]:
    """Plan, fit and sum, in this process."""
    work = plan(units, effects)
    predictions = predict(units, work, salt)
    return work, [summarise(units, work, rep, each) for rep, each in enumerate(predictions)]


def family_sums(
    units: Units, sums: Sequence[Sums], clustered: bool | None = None
) -> dict[str | None, list[FamilySums]]:
    """Sums as the estimate stage sees them: through the record's tables."""
    return families(
        cells_table("key", units, sums),
        moments_table("key", units, sums),
        Tallies([tally for each in sums for tally in each.tallies]),
        units.cluster is not None if clustered is None else clustered,
    )


def estimates(
    units: Units, sums: Sequence[Sums], *, level: float = 0.95, drawn: bool = True
) -> dict[str, Estimate]:
    """Every estimate of every family, by effect id."""
    return {
        each.effect_id: each
        for family in family_sums(units, sums).values()
        for each in estimate(family, level, drawn=drawn)
    }


def run(units: Units, *effects: EffectSpec, drawn: bool = True) -> dict[str, Estimate]:
    """From units to estimates."""
    return estimates(units, crossfit(units, effects)[1], drawn=drawn)


def scored(
    units: Units, spec: EffectSpec, nuisance: Mapping[str, Doubles], rep: int = 0
) -> EffectScores:
    """Scores of one effect from nuisances given by name, on the rows where the outcome is seen."""
    y, d = units.outcomes[spec.outcome], units.treatments[spec.treatment]
    rows = ~np.isnan(y)
    chosen = {name: values[rows] for name, values in nuisance.items()}
    psi_a, psi_b = np.zeros(units.n), np.zeros(units.n)
    psi_a[rows], psi_b[rows] = score(spec, y[rows], d[rows], chosen)
    return EffectScores(spec.effect_id, rows, psi_a, psi_b)


def summed(units: Units, scores: Sequence[EffectScores], by: str | None = None) -> Sums:
    """Sums of given scores, in all and, where asked, by one grouping."""
    names = [None] if by is None else [None, by]
    groups = {name: None if name is None else units.groups[name] for name in names}
    return Sums(
        0,
        {name: sum_cells(units, 0, scores, each) for name, each in groups.items()},
        {name: sum_moments(units, scores, each) for name, each in groups.items()},
        [],
        list(scores),
    )


def solved(
    units: Units, spec: EffectSpec, nuisance: Mapping[str, Doubles], by: str | None = None
) -> dict[str, Estimate]:
    """Estimates of one effect from given nuisances."""
    return estimates(units, [summed(units, [scored(units, spec, nuisance)], by)])


def oracle(units: Units, seed: int = 5) -> dict[str, Doubles]:
    """Arbitrary but sensible predictions of every nuisance: parity needs no good ones."""
    rng = np.random.default_rng(seed)
    x = np.nan_to_num(units.design.values.astype(np.float64))
    noise = rng.normal(0.0, 0.1, (4, units.n))
    return {
        "l": 0.8 * x[:, 0] + noise[0],
        "m": np.clip(expit(0.5 * x[:, 0] + noise[1]), 0.05, 0.95),
        "g0": 0.9 * x[:, 0] + noise[2],
        "g1": 0.5 + 0.9 * x[:, 0] + noise[3],
    }
