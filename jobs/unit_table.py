"""A committed window of the features table as arrays, in one fixed order of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from conf.profile import Profile
from estimators.effects import EffectSpec, arm_column
from estimators.errors import ContractError, Where
from estimators.learners import draws_inside
from estimators.units import Groups, Units, cross, groupings
from jobs.gram.reading import batches
from jobs.ledger import Stage
from jobs.unit_design import codes_of, doubles, read_design

BUCKETS = 4096
CELLS_MAX = 1_000_000
"""Clusters above which cells are hash buckets of them. No setting: it shows in the last digits."""
UNITS_AS_CELLS_MAX = 20_000
"""The same for units, where there is no cluster."""


@dataclass(frozen=True, slots=True)
class UnitTable:
    """Units with the ids that only unit scores need.

    Attributes
    ----------
    units
        The arrays.
    unit_id
        ``(n,)`` ids, sorted: the order of all arrays.
    cluster_id
        ``(n,)`` cluster ids, None where no cluster is declared.
    """

    units: Units
    unit_id: pa.ChunkedArray
    cluster_id: pa.ChunkedArray | None


def read_units(
    features: Stage,
    effects: tuple[EffectSpec, ...],
    covariates: Sequence[str],
    profile: Profile,
) -> UnitTable:
    """Read the rows of a features key at its version, sorted by unit id.

    Raises
    ------
    ContractError
        A treatment, an outcome or a covariate has infinite values, which no learner takes.
    """
    sources = {each.outcome: each.source for each in effects}
    outcomes = sorted(sources)
    grouped = sorted({name for by in groupings(effects) for name in by})
    columns = dict.fromkeys(
        ["unit_id", "cluster_id", "weight", "fold", *_assigned(effects), *sources.values(),
         *grouped]
    )  # fmt: skip
    table = pa.concat_tables(batches(features, profile, list(columns)))
    order = pc.sort_indices(table["unit_id"]).to_numpy()
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    table = table.take(order)
    clusters = table["cluster_id"] if table["cluster_id"].null_count < len(table) else None
    cell, names, bucketed = _cells(table["unit_id"], clusters)
    cluster = None if clusters is None else codes_of(clusters)
    units = Units(
        read_design(features, covariates, effects, profile, place),
        _treatments(table, effects),
        {name: doubles(table[sources[name]]) for name in outcomes},
        doubles(table["weight"]),
        _folds(table["fold"]),
        cell,
        names,
        None if cluster is None else cluster[0],
        None if cluster is None else len(cluster[1]),
        bucketed,
        _groups(table, effects),
        *_hashes(table["unit_id"], clusters, effects),
        {each.propensity: doubles(table[each.propensity]) for each in effects if each.propensity},
    )
    _refuse_infinite(units, features)
    return UnitTable(units, table["unit_id"], clusters)


def _assigned(effects: tuple[EffectSpec, ...]) -> list[str]:
    """Columns of treatments, instruments and known propensities."""
    named = {
        name for each in effects for name in (each.treatment, each.instrument, each.propensity)
    }
    return sorted(name for name in named if name is not None)


def _treatments(table: pa.Table, effects: tuple[EffectSpec, ...]) -> dict[str, NDArray[np.float64]]:
    """Treatments and instruments; of a categorical one an indicator an arm."""
    found = {}
    for name in sorted({each.treatment for each in effects if each.arm is None}):
        found[name] = doubles(table[name])
    for name in sorted({each.instrument for each in effects if each.instrument}):
        found[name] = doubles(table[name])
    arms = {
        (each.treatment, arm)
        for each in effects
        for arm in (each.arm, each.control)
        if arm is not None
    }
    for treatment, arm in sorted(arms):
        values = table[treatment].cast(pa.string())
        found[arm_column(treatment, arm)] = doubles(pc.equal(values, arm))
    return found


def _refuse_infinite(units: Units, features: Stage) -> None:
    names = units.design.names
    columns = [(name, units.design.values[:, j]) for j, name in enumerate(names)]
    for name, values in [*units.treatments.items(), *units.outcomes.items(), *columns]:
        count = int(np.isinf(values).sum())
        if count:
            raise ContractError(
                f"{count} of {units.n} values are infinite, or too large for a learner",
                code="not_finite",
                where=Where(table=features.table, version=features.version, column=name),
                remedy="make them NULL in the unit SQL, or leave their units out",
            )


def _folds(column: pa.ChunkedArray) -> NDArray[np.int16]:
    flat = pc.list_flatten(column).to_numpy()
    return np.ascontiguousarray(flat.reshape(len(column), -1), dtype=np.int16)


def _cells(
    unit_id: pa.ChunkedArray, clusters: pa.ChunkedArray | None
) -> tuple[NDArray[np.int64], tuple[str, ...], bool]:
    """Cells: clusters (or units) while they are few, else hash buckets of them.

    A cell's id depends on the cluster's id alone, so windows that share clusters share cells.
    """
    owner = unit_id if clusters is None else clusters
    codes, labels = codes_of(owner)
    if not in_buckets(len(labels), clustered=clusters is not None):
        return codes, tuple(labels), False
    bucket = np.array([_bucket(label) for label in labels], dtype=np.int64)
    return bucket[codes], tuple(f"bucket:{i:04d}" for i in range(BUCKETS)), True


def in_buckets(owners: int, *, clustered: bool) -> bool:
    """Whether cells are hash buckets, since so many clusters (or units) would be too many."""
    return owners > (CELLS_MAX if clustered else UNITS_AS_CELLS_MAX)


def bucket_name(label: str) -> str:
    """The cell of a cluster (or unit) where cells are hash buckets."""
    return f"bucket:{_bucket(label):04d}"


def _bucket(label: str) -> int:
    return _hash(label) % BUCKETS


def _hash(label: str) -> int:
    return int(xxhash.xxh64_intdigest(label.encode(), 42))


def _hashes(
    unit_id: pa.ChunkedArray, clusters: pa.ChunkedArray | None, effects: tuple[EffectSpec, ...]
) -> tuple[NDArray[np.uint64] | None, NDArray[np.uint64] | None]:
    """Hashes of each row's cluster and of its own id, where a learner draws by them."""
    specs = [spec for each in effects for spec in (each.outcome_learner, each.treatment_learner)]
    if not any(draws_inside(spec) for spec in specs):
        return None, None
    unit = np.array([_hash(label) for label in unit_id.to_pylist()], dtype=np.uint64)
    if clusters is None:
        return unit, unit
    codes, labels = codes_of(clusters)
    return np.array([_hash(label) for label in labels], dtype=np.uint64)[codes], unit


def _groups(table: pa.Table, effects: tuple[EffectSpec, ...]) -> dict[str, Groups]:
    return dict(groups_of(table, columns) for columns in groupings(effects))


def groups_of(table: pa.Table, columns: tuple[str, ...]) -> tuple[str, Groups]:
    """A grouping of a table's rows by the text of its columns' values, with its name."""
    if len(columns) == 1:
        codes, values = codes_of(table[columns[0]].cast(pa.string()))
        return columns[0], Groups(codes, tuple(values))
    labels = {
        name: np.array(table[name].cast(pa.string()).to_pylist(), dtype=object)
        for name in sorted(set(columns))
    }
    return cross(labels, columns)
