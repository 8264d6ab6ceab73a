"""A study on the Gram engine: from a committed window of features to the sums of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from conf.keys import crossfit_key
from conf.plan import effect_specs, gram_learner
from conf.profile import Profile
from estimators.crossfit import Sums
from estimators.dependence import correlation_of, dependent
from estimators.effects import EffectSpec, Spec, blocks
from estimators.gram import record
from estimators.gram.by_row import Arm
from estimators.gram.inference import LEAST_VARIATION
from estimators.gram.layout import Layout
from estimators.gram.moments import Fitted, fit_folds
from estimators.gram.narrow import narrow, narrow_sums
from estimators.gram.pairs import PairShape
from estimators.gram.record import Recorded
from estimators.gram.record_pass import Recording
from estimators.gram.ridge import PENALTIES
from estimators.learners import Design
from estimators.units import Groups, Units
from jobs.failpoints import reach
from jobs.gram import choice, interactive, layouts
from jobs.gram.frame import Frame
from jobs.gram.interactive import Interactive
from jobs.gram.layouts import Pinned
from jobs.gram.passes import FirstPass, first_pass, second_pass
from jobs.gram.products import Opener
from jobs.gram.reading import frame_of
from jobs.gram.spill import Spilled, bucketed, room_for_rows, spill
from jobs.gram.workers import Workers, workers
from jobs.ledger import Progress, Stage
from jobs.memory import give_back
from jobs.resolve import Resolved
from jobs.sums import cells_table, moments_table, tallies_table


@dataclass(frozen=True, slots=True)
class Computed:
    """The stage's tables by name, and its facts; no table where no effect can be had."""

    key: str
    tables: Mapping[str, pa.Table]
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Work:
    resolved: Resolved
    features: Stage
    profile: Profile
    progress: Progress
    frame: Frame
    spec: Spec
    reuse: bool


def compute(
    resolved: Resolved,
    features: Stage,
    profile: Profile,
    progress: Progress,
    *,
    reuse: bool = True,
    products: Opener | None = None,
) -> Computed:
    """Cross-fit all effects of a study on the Gram engine.

    Parameters
    ----------
    reuse
        Take unchanged blocks from the table of partial Grams, and commit new ones and the layout.
    products
        Where products are made; left out, on the profile's device.

    Raises
    ------
    PlatformError
        The profile's device is not there, or the disk has no room for the rows.
    ContractError
        A value that the engine refuses.
    """
    spec = gram_learner(resolved.loaded.study)
    if spec is None:
        raise ValueError(f"{resolved.loaded.study.study} is not on the Gram engine")
    frame = frame_of(resolved.loaded.study, features, profile)
    work = _Work(resolved, features, profile, progress, frame, spec, reuse)
    rows = features.rows * frame.reps
    with (
        room_for_rows(profile, frame, features.rows) as folder,
        workers(profile, rows, products) as crew,
    ):
        pinned, spilled = _spilled(work, folder)
        give_back()
        return _computed(work, pinned, spilled, crew)


def _spilled(work: _Work, folder: Any) -> tuple[Pinned, Spilled]:
    """The window's layout and its rows by block; the first run pins the layout."""
    root, frame, features = work.profile.record_root, work.frame, work.features
    old = layouts.find(work.resolved, root)
    cut = old.cut if old else choice.choose_cut(work.spec, features, frame, work.profile)
    found = spill(features, frame, work.profile, cut, folder=folder, progress=work.progress)
    if old is not None:
        return old, found
    layout = choice.choose_layout(work.spec, found.sample, frame, cut)
    pinned = Pinned(layout, cut, features.digest)
    if not work.reuse:
        return pinned, found
    settled = layouts.keep(work.resolved, pinned, root)
    reach("crossfit.after_gram_layouts")
    if settled.cut != cut:  # another process was first, with other rows
        found = spill(
            features, frame, work.profile, settled.cut, folder=folder, progress=work.progress
        )
    return settled, found


def _computed(work: _Work, pinned: Pinned, spilled: Spilled, crew: Workers) -> Computed:
    study, features = work.resolved.loaded.study, work.features
    effects = effect_specs(study)
    failed = {
        each.effect_id: code for each in effects if (code := spilled.census.fault(each)) is not None
    }
    layout_input = pinned.key_input(features.digest)
    key = crossfit_key(
        study, features.digest, work.profile.device, work.resolved.calibrations, layout_input
    )
    detail = _detail(work, pinned, spilled, effects)
    good = [each for each in effects if each.effect_id not in failed]
    if not good:
        return Computed(key, {}, detail | {"failed": failed})
    first = _first(work, pinned.layout, spilled, crew)
    reach("crossfit.after_gram_partials")
    give_back()
    layout, fits = _fit(work, pinned.layout, first, good)
    failed |= _predicted(good, fits)
    good = [each for each in good if each.effect_id not in failed]
    detail |= {"failed": failed, "gram": detail["gram"] | _facts(pinned.layout, first, spilled)}
    if not good:
        return Computed(key, {}, detail)
    if interactive.needs_rows(effects):
        made = _interactive(work, (pinned.layout, layout), spilled, crew, first, effects=good)
        sums = [made.repetition(rep) for rep in range(work.frame.reps)]
    else:
        sums = [
            _sums(work, layout, spilled, crew, fitted, rep=rep, effects=good)
            for rep, fitted in enumerate(fits)
        ]
    give_back()
    named = _named(work, spilled)
    tables = {
        "moments": moments_table(key, named, sums),
        "tallies": tallies_table(key, sums),
        "cells": cells_table(key, named, sums),
    }
    return Computed(key, tables, detail)


def _first(
    work: _Work, layout: Layout, spilled: Spilled, crew: Workers, arm: Arm | None = None
) -> FirstPass:
    return first_pass(
        layout, spilled.file, spilled.blocks, crew, work.profile.record_root,
        reuse=work.reuse, progress=work.progress, arm=arm,
    )  # fmt: skip


def _interactive(
    work: _Work,
    layouts: tuple[Layout, Layout],
    spilled: Spilled,
    crew: Workers,
    first: FirstPass,
    *,
    effects: Sequence[EffectSpec],
) -> Interactive:
    """The path of rows, with the Grams of the arms; the pinned layout, and the effects' own."""
    whole, layout = layouts
    plan = interactive.plan_of(effects, layout.own_rows)
    sums = interactive.sums_of_arms(
        plan, first, lambda arm: _first(work, whole, spilled, crew, arm)
    )
    clustered = work.frame.clustered and bucketed(work.frame, work.features)
    return Interactive(
        whole, layout, spilled, crew, sums, plan, _penalties(work), clustered, work.progress
    )


def _penalties(work: _Work) -> Sequence[float]:
    penalty = work.spec.get("penalty")
    return PENALTIES if penalty is None else (penalty,)


def _fit(
    work: _Work, layout: Layout, first: FirstPass, good: Sequence[EffectSpec]
) -> tuple[Layout, list[Fitted]]:
    """Nuisances of each repetition, of the treatments and outcomes that have an effect."""
    treated = {name for each in good for name in each.exposures}
    narrowed = narrow(layout, treated, {each.outcome for each in good})
    return narrowed, [
        fit_folds(
            narrowed, [narrow_sums(layout, narrowed, each) for each in folds], _penalties(work)
        )
        for folds in first.sums
    ]


def _predicted(good: Sequence[EffectSpec], fits: Sequence[Fitted]) -> dict[str, str]:
    """Effects whose treatment or outcome its covariates give away, or the others of a joint fit."""
    shape = fits[0].shape
    system = {name: s for s, each in enumerate(shape.systems) for name in each.outcomes}
    found = {
        each.effect_id: "perfectly_predicted"
        for each in good
        for fitted in fits
        for name in each.exposures
        if fitted.variation[system[each.outcome], shape.treatments.index(name)] < LEAST_VARIATION
    }
    found |= {
        each.effect_id: "outcome_in_covariates"
        for each in good
        for fitted in fits
        if each.effect_id not in found and _told(fitted, system[each.outcome], each.outcome)
    }
    for block in blocks(each for each in good if each.effect_id not in found):
        place = shape.a(system[block[0].outcome])
        mine = [shape.treatments.index(each.treatment) for each in block]
        totals = (fitted.scores.sum(axis=0)[place[np.ix_(mine, mine)]] for fitted in fits)
        if any(dependent(correlation_of(each))[1] for each in totals):
            found |= {each.effect_id: "collinear_treatments" for each in block}
    return found


def _told(fitted: Fitted, system: int, outcome: str) -> bool:
    """Whether nothing is left of an outcome but rounding."""
    shape = fitted.shape
    place = len(shape.treatments) + shape.systems[system].outcomes.index(outcome)
    return bool(fitted.quality[system][place] > 1.0 - LEAST_VARIATION)


def _sums(
    work: _Work,
    layout: Layout,
    spilled: Spilled,
    crew: Workers,
    fitted: Fitted,
    *,
    rep: int,
    effects: Sequence[EffectSpec],
) -> Sums:
    frame = work.frame
    pairs = None
    if rep == 0:
        covariates = (*frame.numbers, *frame.categories) if frame.binary else ()
        pairs = PairShape(layout.treatments, layout.outcomes, covariates, frame.binary)
    clustered = frame.clustered and bucketed(frame, work.features)
    folds = second_pass(
        layout, spilled.file, spilled.blocks, crew, fitted,
        rep=rep, what=Recording(frame.group_names, clustered, pairs), progress=work.progress,
    )  # fmt: skip
    found = Recorded(
        rep, fitted.shape, folds, effects, spilled.cells[1],
        {name: rank for name, (_, rank) in spilled.groups.items()},
        {name: labels for name, (labels, _) in spilled.groups.items()},
    )  # fmt: skip
    names = [None, *(name for name in frame.group_names if found.chosen(name))]
    cells = {name: record.cells(found, name) for name in names}
    return Sums(
        rep,
        {name: each for name, each in cells.items() if each is not None},
        {name: record.moments(found, name) for name in names},
        record.tallies(found, pairs),
        [],
        joint={name: record.joint_cells(found, name) for name in names},
    )


def _named(work: _Work, spilled: Spilled) -> Units:
    """Units without rows: what names the cells and groups of the sums."""
    nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
    return Units(
        design=Design(np.empty((0, 0)), (), {}),
        treatments={},
        outcomes={},
        weight=nothing,
        fold=np.empty((0, work.frame.reps), dtype=np.int16),
        cell=none,
        cells=spilled.cells[0],
        cluster=None,
        clusters=None,
        bucketed=bucketed(work.frame, work.features),
        groups={name: Groups(none, labels) for name, (labels, _) in spilled.groups.items()},
    )


def _detail(
    work: _Work, pinned: Pinned, spilled: Spilled, effects: Sequence[EffectSpec]
) -> dict[str, Any]:
    frame = work.frame
    return {
        "features": work.features.key,
        "n": {each.effect_id: spilled.census.units(each) for each in effects},
        "units": spilled.census.n,
        "clusters": int((work.features.detail or {})["clusters"]) if frame.clustered else None,
        "folds": frame.k,
        "reps": frame.reps,
        "unit_scores": False,
        "gram": {
            "layout": pinned.layout.digest,
            "pinned_on_these_rows": pinned.features_digest == work.features.digest,
            "slice_days": pinned.cut.slice_days,
            "columns": pinned.layout.basis.size,
            "blocks": len(spilled.blocks),
        },
    }


def _facts(layout: Layout, first: FirstPass, spilled: Spilled) -> dict[str, Any]:
    """What the pinned basis did not know, by covariate, as a share of the units."""
    strays = np.sum([each.strays for each in first.sums[0]], axis=0) / spilled.census.n
    shares = dict(zip(layout.basis.covariates, strays.tolist(), strict=True))
    return {"strays": {name: share for name, share in shares.items() if share > 0}}
