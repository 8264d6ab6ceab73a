"""The crossfit stage: a committed window of features becomes committed sums of scores."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from conf.keys import numerics_label, platform_label
from conf.plan import cate_specs, effect_specs, gram_learner
from conf.profile import Profile
from estimators.conditional import CatePlan, Conditional, conditional, joined, plan_cate
from estimators.crossfit import Plan, Sums, Task, place, plan, summarise, tasks
from estimators.debias.choice import choose, likeness
from estimators.effects import blocks
from estimators.errors import NotEstimableError, Where
from estimators.meta import Final
from jobs import ledger
from jobs.crossfit_key import crossfit_key_of
from jobs.failpoints import reach
from jobs.fits import fits, workers
from jobs.gram.compute import Computed, compute
from jobs.lake import append_once, open_table, record_path
from jobs.ledger import Progress, Stage, silent
from jobs.memory import give_back
from jobs.predicted.calibrations import read_predicted
from jobs.resolve import Resolved
from jobs.sums import cate_table, cells_table, moments_table, scores_table, tallies_table
from jobs.unit_table import UnitTable, read_units


def run(
    resolved: Resolved,
    features: Stage,
    profile: Profile,
    progress: Progress = silent,
    *,
    recompute: bool = False,
) -> Stage:
    """Fit nuisances out of fold, sum the scores, and commit the sums under the crossfit key.

    Parameters
    ----------
    features
        The committed features stage: the version to read.
    recompute
        Compute even where the key is committed, and write nothing: the digest is for comparison.

    Raises
    ------
    NotEstimableError
        No effect of the study can be had; nothing is written.
    ContractError
        A calibration that no correction can stand on; nothing is written.
    """
    root = profile.record_root
    done = ledger.find(root, "crossfit", crossfit_key_of(resolved, features, profile))
    if done is not None and not recompute:
        return done
    began = time.monotonic()
    if gram_learner(resolved.loaded.study) is None:
        found = _by_rows(resolved, features, profile, progress)
    else:
        found = compute(resolved, features, profile, progress, reuse=not recompute)
    if not found.tables:
        raise _nothing_estimable(resolved, found.detail["failed"])
    stage = Stage(
        "crossfit",
        "computed",
        found.key,
        "cells",
        -1,
        found.tables["cells"].num_rows,
        time.monotonic() - began,
        _digest(found.tables),
        found.detail,
    )
    if recompute:
        return stage
    return _commit(resolved, stage, found.tables, root)


def _by_rows(resolved: Resolved, features: Stage, profile: Profile, progress: Progress) -> Computed:
    """Every nuisance by a learner of rows: all units in memory."""
    study = resolved.loaded.study
    key = crossfit_key_of(resolved, features, profile)
    predicted = read_predicted(resolved)
    table = read_units(features, effect_specs(study), study.covariates, profile)
    give_back()  # reading and sorting leave as much again
    with threadpool_limits(limits=1):  # two BLAS threads would change the last bits
        units, effects, corrections, facts = choose(table.units, effect_specs(study), predicted)
    table = replace(table, units=units)
    work = plan(table.units, effects, corrections)
    if not work.effects:
        return Computed(key, {}, {"failed": dict(work.failed)})
    added = plan_cate(table.units, cate_specs(study))
    sums, tau = _fit(table, work, added, study.folds.salt, profile=profile, progress=progress)
    if facts:
        facts["likeness"] = likeness(units, work.effects, sums[0], corrections)
    tables = _tables(key, table, sums, profile)
    if tau:
        tables = {"cate": cate_table(key, table, tau)} | tables
    detail = {
        "features": features.key,
        "failed": dict(work.failed),
        "n": {each.effect_id: _observed(table, each.outcome) for each in effects},
        "units": table.units.n,
        "clusters": table.units.clusters,
        "folds": table.units.k,
        "reps": int(table.units.fold.shape[1]),
        "unit_scores": "scores" in tables,
    }
    joint = [each.effect_id for block in blocks(work.effects) for each in block]
    if joint:
        detail["joint"] = joint
    if added.failed:
        detail["cate_failed"] = dict(added.failed)
    return Computed(key, tables, detail | ({"corrections": facts} if facts else {}))


def _observed(table: UnitTable, outcome: str) -> int:
    return int(table.units.rows(outcome).sum())


def _nothing_estimable(resolved: Resolved, failed: Mapping[str, str]) -> NotEstimableError:
    reasons = "; ".join(f"{name}: {code}" for name, code in failed.items())
    return NotEstimableError(
        f"no effect can be estimated ({reasons})",
        where=Where(window=resolved.span.label),
        remedy="look at the treatment and the outcomes of this window, or take a longer window",
    )


def _fit(
    table: UnitTable,
    work: Plan,
    added: CatePlan,
    salt: str,
    *,
    profile: Profile,
    progress: Progress,
) -> tuple[list[Sums], list[Conditional]]:
    todo = tasks(table.units, joined(work, added), workers(profile))
    finished = 0

    def fitted(task: Task) -> None:
        nonlocal finished
        finished += 1
        progress("crossfit", finished, len(todo), f"repetition {task.rep}, fold {task.fold}")

    progress("crossfit", 0, len(todo), "nuisances")
    sums: list[Sums] = []
    tau: list[Conditional] = []
    final = Final({}, salt, device=profile.device)
    for results in fits(table.units, todo, salt, profile, fitted):
        predictions, rep = place(table.units, results), results[0][0].rep
        sums.append(summarise(table.units, work, rep, predictions))
        # Here whatever the engine: second stages are few, and their bytes are then the same.
        tau += conditional(table.units, added, rep, predictions, final)
    return sums, tau


def _tables(
    key: str, table: UnitTable, sums: Sequence[Sums], profile: Profile
) -> dict[str, pa.Table]:
    tables = {
        "moments": moments_table(key, table.units, sums),
        "tallies": tallies_table(key, sums),
    }
    if table.units.n <= profile.scores_max_rows:
        tables["scores"] = scores_table(key, table, sums)
    return tables | {"cells": cells_table(key, table.units, sums)}


def _digest(tables: Mapping[str, pa.Table]) -> str:
    """Digest of the sums' bytes, in the order they were made."""
    digest = hashlib.sha256()
    for name in ("cells", "moments", "tallies", *(["cate"] if "cate" in tables else [])):
        rows = tables[name].drop_columns(["crossfit_key"]).combine_chunks()
        with pa.ipc.new_stream(_Hashed(digest), rows.schema) as writer:
            writer.write_table(rows)
    return digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A sink that only hashes: the stream of a large table need not lie in memory beside it."""

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)


def _commit(resolved: Resolved, stage: Stage, tables: Mapping[str, pa.Table], root: str) -> Stage:
    """Commit each table once under the key, `cells` last, then the ledger."""
    for name, rows in tables.items():
        reach(f"crossfit.before_{name}")
        append_once(root, name, stage.key, rows)
        reach(f"crossfit.after_{name}")
    version = open_table(record_path(root, stage.table)).version()
    reach("crossfit.before_ledger")
    return ledger.commit(
        root,
        replace(stage, version=version),
        study=resolved.loaded.study.study,
        window=(resolved.span.start, resolved.span.end),
        sources=resolved.sources,
        numerics=numerics_label(resolved.loaded.study),
        platform=platform_label(),
    )
