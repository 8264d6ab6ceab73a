"""Sums between arrays and the record: cells, moments, tallies and unit scores as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from estimators.cells import CellSums, Moment
from estimators.inference import FamilySums
from estimators.tallies import Tallies, Tally
from estimators.units import Units
from jobs.contracts import CATE, CELLS, DOUBLES, MOMENTS, SCORES, TALLIES
from jobs.joint import solved
from jobs.lake import read_record
from jobs.unit_table import UnitTable

if TYPE_CHECKING:  # whoever only reads sums needs no learner
    from estimators.conditional import Conditional
    from estimators.crossfit import Sums
    from estimators.debias.in_scores import CalibrationSums


def _constant(value: Any, n: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), n)


def _lists(values: Any, kind: pa.DataType) -> pa.Array:
    """``(C, E)`` as C lists of E: of joint blocks E is J * J for `a`."""
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1), kind))


def cells_table(key: str, units: Units, sums: Sequence[Sums]) -> pa.Table:
    """The rows of ``cells``."""
    parts = [
        _cells(key, units, each.rep, name, cells)
        for each in sums
        for name, cells in each.cells.items()
    ]
    parts += [
        _cells(key, units, each.rep, name, cells)
        for each in sums
        for name, found in each.joint.items()
        for cells in found
    ]
    parts += [
        _calibration(key, units, each.rep, name, cells)
        for each in sums
        for name, found in each.calibration.items()
        for cells in found
    ]
    return pa.concat_tables(parts)


def _calibration(
    key: str, units: Units, rep: int, name: str | None, cells: CalibrationSums
) -> pa.Table:
    """A calibration's cells: no units, no weight, no fold of their own (written as 0)."""
    n, width = cells.a.shape
    value = None if name is None else units.groups[name].values[cells.group]
    columns = [
        _constant(key, n, pa.string()),
        _constant(rep, n, pa.int32()),
        _constant(0, n, pa.int32()),
        pa.array(cells.cell, pa.string()),
        _constant(name, n, pa.string()),
        _constant(value, n, pa.string()),
        _lists(np.tile(np.array(cells.effects, dtype=object), (n, 1)), pa.string()),
        _lists(np.zeros((n, width), dtype=np.int64), pa.int64()),
        *(_lists(each, DOUBLES.value_type) for each in (np.zeros((n, width)), cells.a, cells.b)),
    ]
    return pa.table(columns, names=CELLS.names)


def _cells(key: str, units: Units, rep: int, name: str | None, cells: CellSums) -> pa.Table:
    n = len(cells.cell)
    value = (
        _constant(None, n, pa.string())
        if name is None
        else pa.array(units.groups[name].values, pa.string()).take(pa.array(cells.group))
    )
    effects = np.tile(np.array(cells.effects, dtype=object), (n, 1))
    columns = [
        _constant(key, n, pa.string()),
        _constant(rep, n, pa.int32()),
        pa.array(cells.fold, pa.int32()),
        pa.array(units.cells, pa.string()).take(pa.array(cells.cell)),
        _constant(name, n, pa.string()),
        value,
        _lists(effects, pa.string()),
        _lists(cells.n, pa.int64()),
        *(_lists(each, DOUBLES.value_type) for each in (cells.w, cells.a, cells.b)),
    ]
    return pa.table(columns, names=CELLS.names)


def moments_table(key: str, units: Units, sums: Sequence[Sums]) -> pa.Table:
    """The rows of ``moments``."""
    rows = [
        _moment(key, units, each.rep, name, moment)
        for each in sums
        for name, moments in each.moments.items()
        for moment in moments
    ]
    return pa.Table.from_pylist(rows, schema=MOMENTS)


def _moment(key: str, units: Units, rep: int, name: str | None, moment: Moment) -> dict[str, Any]:
    value = None if name is None else units.groups[name].values[moment.group]
    row = asdict(moment) | {
        "crossfit_key": key, "rep": rep, "group_by": name, "group_value": value,
    }  # fmt: skip
    del row["group"]
    return row


def tallies_table(key: str, sums: Sequence[Sums]) -> pa.Table:
    """The rows of ``tallies``."""
    rows = [asdict(tally) | {"crossfit_key": key} for each in sums for tally in each.tallies]
    return pa.Table.from_pylist(rows, schema=TALLIES)


def scores_table(key: str, table: UnitTable, sums: Sequence[Sums]) -> pa.Table:
    """The rows of ``scores``: every unit, effect and repetition."""
    units, parts = table.units, []
    for each in sums:
        for score in each.scores:
            rows = np.flatnonzero(score.rows)
            taken = pa.array(rows)
            n = len(rows)
            cluster = (
                _constant(None, n, pa.string())
                if table.cluster_id is None
                else table.cluster_id.take(taken)
            )
            columns = [
                _constant(key, n, pa.string()),
                _constant(score.effect_id, n, pa.string()),
                _constant(each.rep, n, pa.int32()),
                pa.array(units.fold[rows, each.rep], pa.int32()),
                table.unit_id.take(taken),
                cluster,
                pa.array(units.weight[rows]),
                pa.array(score.psi_a[rows]),
                pa.array(score.psi_b[rows]),
            ]
            parts.append(pa.table(columns, names=SCORES.names))
    return pa.concat_tables(parts)


def cate_table(key: str, table: UnitTable, found: Sequence[Conditional]) -> pa.Table:
    """The rows of ``cate``: tau of every unit, learner and repetition."""
    parts = []
    for each in found:
        rows = np.flatnonzero(each.rows)
        taken, n = pa.array(rows), len(rows)
        cluster = table.cluster_id
        columns = [
            _constant(key, n, pa.string()),
            _constant(each.effect_id, n, pa.string()),
            _constant(each.learner, n, pa.string()),
            _constant(each.rep, n, pa.int32()),
            pa.array(table.units.fold[rows, each.rep], pa.int32()),
            table.unit_id.take(taken),
            _constant(None, n, pa.string()) if cluster is None else cluster.take(taken),
            pa.array(each.tau[rows]),
        ]
        parts.append(pa.table(columns, names=CATE.names))
    return pa.concat_tables(parts)


def read_tallies(record_root: str, key: str, facts: Mapping[str, Any] | None = None) -> Tallies:
    """All tallies of a crossfit key, with the facts of its gates."""
    rows = read_record(record_root, "tallies", ds.field("crossfit_key") == key).to_pylist()
    return Tallies(_tallies(rows), facts)


def _tallies(rows: Sequence[Mapping[str, Any]]) -> list[Tally]:
    names = Tally.__dataclass_fields__
    return [
        Tally(**{name: row[name] for name in names} | {"hist": tuple(row["hist"])}) for row in rows
    ]


def read_families(
    record_root: str, key: str, tallies: Tallies, clustered: bool
) -> dict[str | None, list[FamilySums]]:
    """The families of a crossfit key from the record."""
    mine = ds.field("crossfit_key") == key
    cells = read_record(record_root, "cells", mine)
    return families(cells, read_record(record_root, "moments", mine), tallies, clustered)


def read_family(record_root: str, key: str, name: str | None, clustered: bool) -> list[FamilySums]:
    """One family of a crossfit key: that of a grouping, or the ungrouped effects.

    Nothing where no sums of the grouping were kept.
    """
    mine = (ds.field("crossfit_key") == key) & _equal("group_by", name)
    cells = read_record(record_root, "cells", mine)
    counts = mine & (ds.field("subject") == "clusters")
    rows = read_record(record_root, "tallies", counts).to_pylist() if clustered else []
    moments = read_record(record_root, "moments", mine)
    return families(cells, moments, Tallies(_tallies(rows)), clustered).get(name, [])


def families(
    cells: pa.Table, moments: pa.Table, tallies: Tallies, clustered: bool
) -> dict[str | None, list[FamilySums]]:
    """The families of the rows of one key, by grouping: a `FamilySums` a repetition.

    Cells merge in any grouping; here by sorting them, so that equal sums give equal bytes.
    """
    cells, moments = solved(cells, moments)
    found: dict[str | None, list[FamilySums]] = {}
    names = sorted(cells["group_by"].unique().to_pylist(), key=lambda name: name or "")
    for name in names:
        chosen = cells if len(names) == 1 else cells.filter(_equal("group_by", name))
        reps = sorted(chosen["rep"].unique().to_pylist())
        found[name] = [
            _family(
                chosen if len(reps) == 1 else chosen.filter(ds.field("rep") == rep),
                moments.filter(_equal("group_by", name) & (ds.field("rep") == rep)),
                name,
                tallies,
                clustered,
            )
            for rep in reps
        ]
    return found


def _equal(column: str, value: str | None) -> ds.Expression:
    return ds.field(column).is_null() if value is None else ds.field(column) == value


def _family(
    cells: pa.Table, moments: pa.Table, name: str | None, tallies: Tallies, clustered: bool
) -> FamilySums:
    cells = cells.sort_by([(each, "ascending") for each in ("group_value", "fold", "cell")])
    lengths = np.diff(cells["effects"].combine_chunks().offsets.to_numpy())
    values, value = _coded(cells["group_value"].combine_chunks())
    names, effect = _coded(_flat(cells, "effects"))
    cell_names, cell = _coded(cells["cell"].combine_chunks())
    cell = np.argsort(np.argsort(np.array(cell_names, dtype=str)))[cell]  # in the labels' order
    pair = np.repeat(value, lengths) * len(names) + effect
    seen = np.flatnonzero(np.bincount(pair, minlength=len(values) * len(names)))
    pairs = [(values[i // len(names)], str(names[i % len(names)])) for i in seen.tolist()]
    ids = sorted(pairs, key=lambda pair: (pair[1], pair[0] or ""))
    index: dict[tuple[str | None, str], int] = {pair: i for i, pair in enumerate(ids)}
    place = np.zeros(len(values) * len(names), dtype=np.int64)
    place[seen] = [index[pair] for pair in pairs]
    column = place[pair]
    n = _flat(cells, "n").to_numpy(zero_copy_only=False)
    used = n > 0
    matrices = {level: np.zeros((3, len(ids), len(ids))) for level in ("unit", "cluster")}
    for row in moments.to_pylist():
        _fill(matrices[row["level"]], index, row)
    bucketed = "cluster" in set(moments["level"].to_pylist())
    counts = None
    if clustered:
        counts = (
            np.array([_counted(tallies, name, pair) for pair in ids], dtype=np.int64)
            if bucketed
            else _distinct(column[used], np.repeat(cell, lengths)[used], len(ids), len(cell_names))
        )
    return FamilySums(
        tuple(
            effect_id if name is None else f"{effect_id}@{name}={group}" for group, effect_id in ids
        ),
        column,
        np.repeat(cell, lengths).astype(np.int64),
        n,
        _flat(cells, "a").to_numpy(zero_copy_only=False),
        _flat(cells, "b").to_numpy(zero_copy_only=False),
        matrices["unit"],
        matrices["cluster"] if bucketed else None,
        counts,
    )


def _flat(cells: pa.Table, column: str) -> pa.Array:
    return cells[column].combine_chunks().flatten()


def _coded(column: pa.Array) -> tuple[list[str | None], NDArray[np.int64]]:
    """Distinct texts, and which of them each entry is; NULL is one of them."""
    encoded = column.dictionary_encode(null_encoding="encode")
    index = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary.to_pylist(), index


def _fill(matrix: Any, index: dict[tuple[Any, Any], int], row: dict[str, Any]) -> None:
    i = index.get((row["group_value"], row["effect_i"]))
    j = index.get((row["group_value"], row["effect_j"]))
    if i is None or j is None:
        return
    aa, ab, bb = matrix
    aa[i, j] = aa[j, i] = row["aa"]
    bb[i, j] = bb[j, i] = row["bb"]
    ab[i, j], ab[j, i] = row["ab"], row["ba"]


def _distinct(column: Any, cell: Any, effects: int, cells: int) -> Any:
    pairs = np.unique(column * cells + cell)
    return np.bincount(pairs // cells, minlength=effects)


def _counted(tallies: Tallies, name: str | None, pair: tuple[Any, Any]) -> int:
    found = tallies.find("clusters", effect_id=pair[1], group=(name, pair[0]))
    return found.n if found else 0
