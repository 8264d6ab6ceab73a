"""Cross-fitting: what to fit, one task's fit, and from predictions to sums.

A task owns a repetition, a fold, a row mask (outcome observed, arm) and a chunk of targets. It
opens the fold once, so that the binned matrix is built once, and predicts the held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from estimators.cells import CellSums, EffectScores, Moment, sum_cells, sum_moments
from estimators.debias.in_scores import CalibrationSums, calibration_sums
from estimators.debias.in_study import NOTHING, Corrections, powered_scores
from estimators.dependence import correlation_of, dependent
from estimators.effects import EffectSpec, Spec, arm_column, blocks, group_by_name
from estimators.joint import JointScores, block_cells, elements, solved_scores
from estimators.learners import Fold, open_fold, seed_of
from estimators.learners.draws import positions
from estimators.learners.tuning import choose, is_tuned, own, split, subsample
from estimators.nuisances import Pass, Target, needed, passes
from estimators.scores import score
from estimators.tallied import alike, tallies_of
from estimators.tallies import Fitted, Tally
from estimators.told import told
from estimators.units import Units, groupings

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set of effects costs: passes to fit, and the effects that cannot be had.

    Attributes
    ----------
    effects
        Estimable effects.
    targets
        Nuisances by effect id and by name in the paper.
    rows
        Row mask of each outcome.
    passes
        Targets that share rows and a binned matrix.
    failed
        Error code by effect id: ``constant_treatment``, ``constant_instrument``, ``empty_arm``,
        ``missing_outcome``, ``constant_outcome``, ``outcome_in_covariates`` (see `told`),
        ``collinear_treatments`` (of a joint fit: all its effects).
    corrections
        What corrects predicted outcomes.
    """

    effects: tuple[EffectSpec, ...]
    targets: Mapping[str, Mapping[str, Target]]
    rows: Mapping[str, str]
    passes: tuple[Pass, ...]
    failed: Mapping[str, str]
    corrections: Corrections = NOTHING


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work: a pass on one fold of one repetition."""

    rep: int
    fold: int
    work: Pass


@dataclass(frozen=True, slots=True)
class Sums:
    """Everything that travels after cross-fitting a repetition.

    Attributes
    ----------
    cells, moments
        By grouping; the key None holds the totals.
    scores
        By unit; of a joint block as solved over all units.
    calibration
        A calibration's share of the uncertainty as cells, by grouping.
    joint
        Cells of the joint blocks, by grouping: there `a` is a matrix, row by row.
    """

    rep: int
    cells: Mapping[str | None, CellSums]
    moments: Mapping[str | None, list[Moment]]
    tallies: list[Tally]
    scores: list[EffectScores]
    calibration: Mapping[str | None, list[CalibrationSums]] = field(default_factory=dict)
    joint: Mapping[str | None, list[CellSums]] = field(default_factory=dict)


def plan(units: Units, effects: tuple[EffectSpec, ...], corrections: Corrections = NOTHING) -> Plan:
    """Decide what can be estimated and what must be fitted, before any fit."""
    failed = {each.effect_id: code for each in effects if (code := _fault(units, each)) is not None}
    good = tuple(each for each in effects if each.effect_id not in failed)
    columns = sorted({each.column for each in good})
    spanned = {name for name in columns if told(units.design, units.outcomes[name])}
    failed |= {each.effect_id: "outcome_in_covariates" for each in good if each.column in spanned}
    good = tuple(each for each in good if each.effect_id not in failed)
    failed |= {
        each.effect_id: "collinear_treatments"
        for block in blocks(good)
        if _collinear(units, block)
        for each in block
    }
    good = tuple(each for each in good if each.effect_id not in failed)
    rows = units.row_masks(effects)
    targets = needed(good, rows)
    work = passes(target for names in targets.values() for target in names.values())
    return Plan(good, targets, rows, work, failed, corrections)


def _fault(units: Units, effect: EffectSpec) -> str | None:
    """Why an effect cannot be had: fewer units in a fold's training rows than a fit needs."""
    observed = ~np.isnan(units.outcomes[effect.column])
    d = units.treatments[effect.exposure]
    if not observed.any():
        return "missing_outcome"
    if np.ptp(units.outcomes[effect.column][observed]) == 0:
        return "constant_outcome"
    if np.ptp(d[observed]) == 0:
        return "constant_treatment" if effect.arm is None or d[observed][0] else "empty_arm"
    if np.ptp(units.treatments[effect.assigned][observed]) == 0:
        return "constant_instrument"
    for arm in _arms(units, effect):
        if _training_counts(units, observed & arm).min() < units.k:
            return "empty_arm"
    return None


def _collinear(units: Units, block: Sequence[EffectSpec]) -> bool:
    """Whether the treatments of a joint fit are sums of one another, as learners may not show."""
    rows = ~np.isnan(units.outcomes[block[0].column])
    values = np.stack([units.treatments[each.exposure][rows] for each in block])
    values -= values.mean(axis=1, keepdims=True)
    moments = np.array([[float((one * two).sum()) for two in values] for one in values])
    return bool(dependent(correlation_of(moments))[1])


def _arms(units: Units, effect: EffectSpec) -> list[NDArray[np.bool_]]:
    """Arms that an effect needs units of; none of a dose or a continuous instrument."""
    if effect.arm is not None:
        named = (effect.arm, effect.control) if effect.control else (effect.arm,)
        return [units.treatments[arm_column(effect.treatment, each)] == 1 for each in named]
    assigned = units.treatments[effect.assigned]
    return [assigned == 0, assigned == 1] if effect.assigned_kind == "binary" else []


def _training_counts(units: Units, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows in each training set, ``(repetitions, k)``."""
    reps = range(units.fold.shape[1])
    inside = [np.bincount(units.fold[rows, rep], minlength=units.k) for rep in reps]
    return np.asarray([count.sum() - count for count in inside], dtype=np.int64)


def tasks(units: Units, plan: Plan, workers: int = 1) -> list[Task]:
    """All tasks, repetition by repetition; cut so that no worker idles at a repetition's end.

    A task that is left over when all others are shared out is cut by its targets: opening its
    fold twice costs less than a worker that waits for all its fits. Where a target is fitted
    changes nothing in its fit.
    """
    found = []
    for rep in range(units.fold.shape[1]):
        whole = [Task(rep, fold, work) for fold in range(units.k) for work in plan.passes]
        over = len(whole) % workers
        found += whole[: len(whole) - over]
        for task in whole[len(whole) - over :]:
            found += [replace(task, work=part) for part in task.work.cut(workers // over)]
    return found


def fit(
    units: Units,
    task: Task,
    salt: str,
    *,
    threads: int = 1,
    device: str = "cpu",
    scratch: str | None = None,
) -> Doubles:
    """Fit one task.

    Parameters
    ----------
    scratch
        A folder where the bins of trees stay, instead of in memory; the trees are the same.

    Returns
    -------
    ndarray
        ``(targets, held-out rows)`` predictions for the fold's rows within the pass's row mask
        (both arms), rows ascending.
    """
    work = task.work
    rows = units.rows(work.rows)
    held_out = units.fold[:, task.rep] == task.fold
    training = rows & ~held_out
    if work.arm is not None:
        training &= units.treatments[work.arm[0]] == work.arm[1]
    train = subsample(
        np.flatnonzero(training),
        units.unit,
        work.targets[0].spec.get("max_train_rows"),
        seed_of(salt, task.rep, "max_train_rows"),
    )
    opening = partial(open_fold, design=units.design, weight=units.weight, place=units.place,
                      threads=threads, device=device, scratch=scratch)  # fmt: skip
    seeds = [seed_of(salt, task.rep, task.fold, each.name) for each in work.targets]
    specs = _settled(units, work, train, seeds, opening)
    opened = opening(specs[0], train=train, test=np.flatnonzero(rows & held_out))
    return np.stack(
        [
            opened.predict(units.column(target.variable)[train], target.kind, spec, seed)
            for target, spec, seed in zip(work.targets, specs, seeds, strict=True)
        ]
    )


def _settled(
    units: Units,
    work: Pass,
    train: NDArray[np.intp],
    seeds: Sequence[int],
    opening: Callable[..., Fold],
) -> list[Spec]:
    """Each target's learner, with what is chosen inside the training rows chosen."""
    if not any(is_tuned(each.spec) for each in work.targets):
        return [own(each.spec) for each in work.targets]
    inner = split(positions(len(train)) if units.place is None else units.place[train], 0)
    opened = opening(own(work.targets[0].spec), train=train[inner.fit], test=train[inner.judge])
    settled = []
    for target, seed in zip(work.targets, seeds, strict=True):
        spec, y = target.spec, units.column(target.variable)[train]
        if is_tuned(spec):
            spec = choose(spec, opened, y, units.weight[train], inner, kind=target.kind, seed=seed)
        settled.append(own(spec))
    return settled


def place(units: Units, results: Sequence[tuple[Task, Doubles]]) -> dict[Target, Doubles]:
    """Put one repetition's predictions back in the units' order, NaN outside the row mask."""
    predictions: dict[Target, Doubles] = {}
    for task, values in results:
        rows = np.flatnonzero(units.rows(task.work.rows) & (units.fold[:, task.rep] == task.fold))
        for target, column in zip(task.work.targets, values, strict=True):
            whole = predictions.setdefault(target, np.full(units.n, np.nan))
            whole[rows] = column
    return predictions


def summarise(units: Units, plan: Plan, rep: int, predictions: Mapping[Target, Doubles]) -> Sums:
    """Scores and sums of one repetition from its out-of-fold predictions."""
    constant = partial(_constant, units, rep)
    fitted = [
        fitted_of(units, plan, each, rep, predictions, constant=constant) for each in plan.effects
    ]
    single = [each for each in fitted if each.effect.joint is None]
    scores = [scores_of(each, plan.corrections) for each in single]
    joint = joint_of(fitted)
    cells, moments, calibration, matrices = {}, {}, {}, {}
    for by in (None, *groupings(plan.effects)):
        name = None if by is None else group_by_name(by)
        groups = None if name is None else units.groups[name]
        every = zip(single, scores, strict=True)
        pairs = [pair for pair in every if by is None or by in pair[0].effect.by]
        chosen = [each for _, each in pairs]
        mine = [each for each, of in joint if by is None or by in of.by]
        if chosen:
            cells[name] = sum_cells(units, rep, chosen, groups)
        matrices[name] = [block_cells(units, rep, each, groups) for each in mine]
        parts = [part for each in mine for part in elements(each)]
        moments[name] = sum_moments(units, [*chosen, *parts], groups)
        calibration[name] = calibration_sums(units, pairs, plan.corrections, groups)
    tallies = tallies_of(units, fitted, alike(plan.effects, plan.rows, plan.targets))
    if rep == 0:
        tallies += plan.corrections.tallies
    solved = [score for each, _ in joint for score in solved_scores(each, units.weight)]
    return Sums(rep, cells, moments, tallies, [*scores, *solved], calibration, matrices)


def joint_of(fitted: Sequence[Fitted]) -> list[tuple[JointScores, EffectSpec]]:
    """Residuals of each joint block, and one of its effects."""
    by_id = {each.effect.effect_id: each for each in fitted}
    found = []
    for block in blocks([each.effect for each in fitted]):
        members = [by_id[each.effect_id] for each in block]
        rows, first = members[0].rows, members[0]
        v = np.stack([each.d - each.nuisance["m"] for each in members])
        u = first.y - first.nuisance["l"]
        v, u = np.where(rows, v, 0.0), np.where(rows, u, 0.0)
        found.append((JointScores(tuple(each.effect_id for each in block), rows, v, u), block[0]))
    return found


def fitted_of(
    units: Units,
    plan: Plan,
    effect: EffectSpec,
    rep: int,
    predictions: Mapping[Target, Doubles],
    *,
    constant: Callable[[Target], Doubles],
) -> Fitted:
    """What an effect's scores and checks take of the units.

    Parameters
    ----------
    constant
        What the training rows' mean of a target predicts for each unit, ``(n,)``.
    """
    targets = plan.targets[effect.effect_id]
    nuisance = {name: predictions[target] for name, target in targets.items()}
    baseline = {name: constant(target) for name, target in targets.items()}
    if effect.propensity is not None:
        nuisance["m"] = units.propensities[effect.propensity]
    if effect.method in ("irm", "apo", "iivm"):
        clip = 0.0 if effect.estimand == "ato" else effect.clip  # it divides by no propensity
        for name in ("m", "m0"):
            if name in nuisance:
                nuisance[f"{name}_clipped"] = np.clip(nuisance[name], clip, 1.0 - clip)
    control = arm_column(effect.treatment, effect.control) if effect.control else None
    other = effect.instrument or control
    return Fitted(
        effect,
        rep,
        units.rows(plan.rows[effect.column]),
        units.outcomes[effect.column],
        units.treatments[effect.exposure],
        nuisance,
        baseline,
        None if other is None else units.treatments[other],
    )


def _constant(units: Units, rep: int, target: Target) -> Doubles:
    """What the training rows' mean predicts for each unit, ``(n,)``."""
    rows = units.rows(target.rows)
    if target.arm is not None:
        rows = rows & (units.treatments[target.arm[0]] == target.arm[1])
    fold, weight = units.fold[rows, rep], units.weight[rows]
    y = units.column(target.variable)[rows]
    total = np.bincount(fold, weights=weight, minlength=units.k)
    of_y = np.bincount(fold, weights=weight * y, minlength=units.k)
    mean = (of_y.sum() - of_y) / (total.sum() - total)
    return np.asarray(mean[units.fold[:, rep]], dtype=np.float64)


def scores_of(fitted: Fitted, corrections: Corrections = NOTHING) -> EffectScores:
    """An effect's score elements by unit."""
    effect, rows = fitted.effect, fitted.rows
    nuisance = {name: values[rows] for name, values in fitted.used.items()}
    z = None if fitted.z is None else fitted.z[rows]
    parts = score(effect, fitted.y[rows], fitted.d[rows], nuisance, z)
    psi_a, psi_b = np.zeros(len(rows)), np.zeros(len(rows))
    psi_a[rows], psi_b[rows] = powered_scores(effect, parts, corrections)
    return EffectScores(effect.effect_id, rows, psi_a, psi_b)
