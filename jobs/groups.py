"""Families of a recorded run, by any grouping: from its sums, or from its stored unit scores.

Nothing is fitted. A grouping that the study declared lies in ``cells`` and ``moments``; any other
column of the features table is joined to the run's unit scores by the unit's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from conf.names import FEATURES_RESERVED, listed, nearest
from conf.plan import grouping
from conf.profile import Profile
from conf.sql import read_unit_sql
from conf.study import Study
from estimators.cells import EffectScores
from estimators.contrasts import Family, solve_family
from estimators.effects import group_by_name
from estimators.errors import SourceError, UsageError, Where
from estimators.grouped import grouped_sums
from estimators.inference import FamilySums
from jobs.lake import field_in, open_table, read, read_record
from jobs.ledger import Stage, find
from jobs.sums import read_family
from jobs.unit_design import codes_of
from jobs.unit_table import groups_of
from jobs.windows import RecordedRun, read_run

MOST = 4_000
"""Effects in a family from unit scores: its covariance is a matrix of that size squared."""


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run with the stage that made its sums."""

    run: RecordedRun
    crossfit: Stage
    clustered: bool


@dataclass(slots=True)
class Families:
    """Families of a study's runs as they are asked for, each read once.

    Attributes
    ----------
    study
        As it is now: it says which columns the unit SQL has.
    """

    profile: Profile
    study: Study
    _runs: dict[str, Run]
    _read: dict[tuple[str, str | None, tuple[str, ...]], Family]

    @classmethod
    def of(cls, profile: Profile, study: Study) -> Families:
        """Nothing read yet."""
        return cls(profile, study, {}, {})

    def family(self, run_key: str, by: str | None, effect_ids: Sequence[str]) -> Family:
        """Some effects of a run, in all or by group.

        Parameters
        ----------
        by
            Columns as in a study's ``by:`` (``origin``, ``origin*month``); None for no groups.
        effect_ids
            Ungrouped effects.

        Raises
        ------
        UsageError
            No such column, one that the features table does not hold, too many groups, or an
            effect whose uncertainty unit scores do not hold.
        SourceError
            The record has no sums of the run, or its unit scores were never stored.
        """
        place = (run_key, by, tuple(sorted(effect_ids)))
        if place not in self._read:
            if run_key not in self._runs:
                self._runs[run_key] = open_run(self.profile.record_root, run_key)
            sums = family(self.profile, self._runs[run_key], self.study, by, place[2])
            self._read[place] = solve_family(sums)
        return self._read[place]

    def groups(self, by: str) -> list[str]:
        """Values of a grouping in the families read so far, sorted."""
        ids = [name for place, each in self._read.items() if place[1] == by for name in each.ids]
        return sorted({name.partition("@")[2].removeprefix(f"{by}=") for name in ids})


def open_run(record_root: str, run_key: str) -> Run:
    """Find a run's sums.

    Raises
    ------
    SourceError
        The record has the run's effects and no sums of it.
    """
    run = read_run(record_root, run_key)
    crossfit = find(record_root, "crossfit", run.crossfit) if run and run.crossfit else None
    if run is None or crossfit is None:
        raise SourceError(
            f"the record has no sums of run {run_key[:12]}",
            code="no_sums",
            where=Where(table="stages"),
            remedy="`causeway run` of the window writes them",
        )
    return Run(run, crossfit, clustered=(crossfit.detail or {}).get("clusters") is not None)


def family(
    profile: Profile, run: Run, study: Study, by: str | None, effect_ids: Sequence[str]
) -> list[FamilySums]:
    """Sums of some effects, sorted, in all or within the groups of `by`: see `Families.family`."""
    name = None if by is None else group_by_name(grouping(by))
    stored = read_family(profile.record_root, run.crossfit.key, name, run.clustered)
    chosen = [_only(each, effect_ids) for each in stored]
    if by is None or (chosen and _holds(chosen[0], effect_ids)):
        return chosen
    return _scored(profile, run, study, by, effect_ids)


def _holds(sums: FamilySums, effect_ids: Sequence[str]) -> bool:
    return {each.partition("@")[0] for each in sums.ids} >= set(effect_ids)


def _only(sums: FamilySums, effect_ids: Sequence[str]) -> FamilySums:
    """The part of a family that some effects make up."""
    wanted = set(effect_ids)
    keep = np.array([each.partition("@")[0] in wanted for each in sums.ids], dtype=np.bool_)
    if keep.all():
        return sums
    place = np.cumsum(keep) - 1
    entries = keep[sums.column]
    inside = np.ix_(np.arange(3), np.flatnonzero(keep), np.flatnonzero(keep))
    return replace(
        sums,
        ids=tuple(each for each, kept in zip(sums.ids, keep, strict=True) if kept),
        column=place[sums.column[entries]],
        cell=sums.cell[entries],
        n=sums.n[entries],
        a=sums.a[entries],
        b=sums.b[entries],
        unit=sums.unit[inside],
        cluster=None if sums.cluster is None else sums.cluster[inside],
        clusters=None if sums.clusters is None else sums.clusters[keep],
    )


def _undeclared(by: str, why: str) -> UsageError:
    """A grouping of stored unit scores that the study would have had to declare."""
    return UsageError(
        f"unit scores {why}",
        code="not_declared",
        where=Where(column=by),
        remedy=f"declare `by: [{by}]` for it in the study and run again",
    )


def _scored(
    profile: Profile, run: Run, study: Study, by: str, effect_ids: Sequence[str]
) -> list[FamilySums]:
    """Families from unit scores and a column of the run's own feature rows."""
    corrected = [each for each in effect_ids if "+" in each.partition(".")[0]]
    if corrected:
        held = "do not hold the calibration's share of the uncertainty of"
        raise _undeclared(by, f"{held} {corrected[0]}")
    joint = [each for each in effect_ids if each in (run.crossfit.detail or {}).get("joint", ())]
    if joint:
        solved = "are solved over all units, with the other treatments'"
        raise _undeclared(by, f"of {joint[0]} {solved}")
    columns = grouping(by)
    table = _features(profile, run, study, columns)
    name, groups = groups_of(table, columns)
    if len(groups.values) * len(effect_ids) > MOST:
        raise UsageError(
            f"{len(groups.values):,} groups of {len(effect_ids)} effects; {MOST:,} at most",
            code="too_many_groups",
            where=Where(column=by),
            remedy="name one effect with --effect, or cut the column into bands in the unit SQL",
        )
    cluster = codes_of(table["cluster_id"])[0] if run.clustered else None
    found = _scores(profile, run, effect_ids, table["unit_id"])
    weight = table["weight"].to_numpy()
    return [grouped_sums(each, weight, cluster, groups, name) for each in found]


def _features(profile: Profile, run: Run, study: Study, columns: Sequence[str]) -> pa.Table:
    """Ids, clusters, weights and the grouping's columns of the run's units, by unit id."""
    key = str((run.crossfit.detail or {}).get("features", ""))
    features = find(profile.record_root, "features", key)
    if features is None:
        raise SourceError(
            "the run's feature rows are not in the record",
            code="no_features",
            where=Where(table="features", window=_window(run)),
            remedy="`causeway run` of the window builds them again",
        )
    path = f"{profile.home}/{features.table}"
    stored = open_table(path, features.version).schema().fields
    _refuse_unknown([each.name for each in stored], study, columns, features)
    own = list(dict.fromkeys(["unit_id", "cluster_id", "weight", *columns]))
    table = read(path, own, ds.field("features_key") == key, features.version)
    return table.take(pc.sort_indices(table["unit_id"]))


def _refuse_unknown(
    stored: Sequence[str], study: Study, columns: Sequence[str], features: Stage
) -> None:
    usable = [each for each in stored if each not in FEATURES_RESERVED]
    for column in columns:
        if column in usable:
            continue
        where = Where(table=features.table, version=features.version, column=column)
        sql = read_unit_sql(study.units.sql, list(study.sources), windowed=False).columns or {}
        if column in sql:
            raise UsageError(
                "the unit SQL has this column, the features table does not keep it",
                code="not_stored",
                where=where,
                remedy=f"declare `by: [{column}]` for an effect, or add it to `covariates:` where"
                " it precedes the treatment, and run the window again",
            )
        close = nearest(column, [*usable, *sql])
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(
            f"no such column{hint}",
            code="unknown_column",
            where=where,
            remedy=f"choose one of {listed(usable)}",
        )


def _scores(
    profile: Profile, run: Run, effect_ids: Sequence[str], unit_id: pa.ChunkedArray
) -> list[list[EffectScores]]:
    """Scores by repetition and effect, in the order of `unit_id`."""
    mine = (ds.field("crossfit_key") == run.crossfit.key) & field_in("effect_id", effect_ids)
    columns = ("effect_id", "rep", "unit_id", "psi_a", "psi_b")
    rows = read_record(profile.record_root, "scores", mine, columns)
    have = set(pc.unique(rows["effect_id"]).to_pylist())
    missing = [each for each in effect_ids if each not in have]
    if missing:
        detail = run.crossfit.detail or {}
        stored = f"set scores_max_rows to {detail.get('units', 0):,} or more in the profile"
        if "gram" in detail:
            stored = "choose another learner (`gram` keeps sums alone)"
        raise SourceError(
            f"no unit scores of {listed(missing)} are stored",
            code="no_scores",
            where=Where(table="scores", window=_window(run)),
            remedy=f"declare `by:` in the study, or {stored}, and run the window again",
        )
    place = pc.index_in(rows["unit_id"], unit_id).to_numpy(zero_copy_only=False)
    effect = pc.index_in(rows["effect_id"], pa.array(effect_ids)).to_numpy(zero_copy_only=False)
    rep, psi = rows["rep"].to_numpy(), (rows["psi_a"].to_numpy(), rows["psi_b"].to_numpy())
    return [
        [
            _placed(name, (effect == i) & (rep == each), place, psi, len(unit_id))
            for i, name in enumerate(effect_ids)
        ]
        for each in np.unique(rep)
    ]


def _placed(
    name: str,
    mine: NDArray[np.bool_],
    place: NDArray[np.int64],
    psi: tuple[NDArray[np.float64], NDArray[np.float64]],
    n: int,
) -> EffectScores:
    """One effect's scores in the units' order; units that were erased have no row."""
    index = place[mine]
    known = ~np.isnan(index)
    at = index[known].astype(np.int64)
    rows = np.zeros(n, dtype=np.bool_)
    rows[at] = True
    psi_a, psi_b = np.zeros(n), np.zeros(n)
    psi_a[at], psi_b[at] = psi[0][mine][known], psi[1][mine][known]
    return EffectScores(name, rows, psi_a, psi_b)


def _window(run: Run) -> str:
    return f"{run.run.start:%Y-%m-%d}..{run.run.end:%Y-%m-%d}"
