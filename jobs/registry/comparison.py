"""Two recorded runs of an effect compared: the drift test, from the cells that both have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from estimators.drift import CellSeries, Drift, Influence, drift, influence
from jobs.joint import solved
from jobs.lake import read_record
from jobs.pages import wording
from jobs.pages.wording import Row
from jobs.unit_table import bucket_name
from jobs.windows import read_run

_COLUMNS = ("rep", "cell", "effects", "n", "a", "b")
_BUCKET = "bucket:"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An effect against the champion's estimate of it.

    Attributes
    ----------
    then
        Run key of the champion.
    drift
        The test; None where `reason` says why there is none.
    reason
        ``no_sums``, ``not_estimable``; empty where there is a test.
    """

    then: str
    drift: Drift | None
    reason: str = ""


@dataclass(slots=True)
class Sums:
    """Cells of runs as they are asked for: those of one crossfit key are read once."""

    record_root: str
    _read: dict[str, pa.Table | None]

    @classmethod
    def of(cls, record_root: str) -> Sums:
        """Nothing read yet."""
        return cls(record_root, {})

    def cells(self, run_key: str) -> pa.Table | None:
        """Whole-window cells of a run; None where the record has none of it."""
        if run_key not in self._read:
            self._read[run_key] = self._load(run_key)
        return self._read[run_key]

    def _load(self, run_key: str) -> pa.Table | None:
        run = read_run(self.record_root, run_key)
        if run is None or not run.crossfit:
            return None
        where = (ds.field("crossfit_key") == run.crossfit) & ds.field("group_by").is_null()
        cells = read_record(self.record_root, "cells", where, _COLUMNS)
        return solved(cells)[0] if len(cells) else None


def compare(sums: Sums, now: Row, then: Row) -> Comparison:
    """Test an effect's row of ``effects`` against the champion's row of the same effect."""
    key = str(then["run_key"])
    pair = influences(sums, now, then)
    if isinstance(pair, str):
        return Comparison(key, None, pair)
    return Comparison(key, drift(*pair))


def influences(sums: Sums, now: Row, then: Row) -> tuple[Influence, Influence] | str:
    """Influence of the cells on two rows of one effect; or the reason why there is none."""
    if not (wording.estimable(now) and wording.estimable(then)):
        return "not_estimable"
    first, second = (sums.cells(str(row["run_key"])) for row in (now, then))
    if first is None or second is None:
        return "no_sums"
    # Where only one window is so large that its cells are buckets, the other's become so: a
    # bucket's id depends on the cluster's id alone.
    rename = _bucketed(first) != _bucketed(second)
    series = [_series(each, str(now["effect_id"]), rename=rename) for each in (first, second)]
    mine, theirs = series
    if not mine or not theirs:
        return "no_sums"
    return _influence(mine, now), _influence(theirs, then)


def _bucketed(cells: pa.Table) -> bool:
    return bool(pc.any(pc.starts_with(cells["cell"], _BUCKET)).as_py())


def _series(cells: pa.Table, effect_id: str, *, rename: bool) -> dict[int, CellSeries]:
    """Sums of one effect by repetition.

    With `rename`, cells of units take the names of their buckets; those without a unit (the error
    of a calibration) keep theirs.
    """
    rows = cells.combine_chunks()
    effects = rows["effects"].chunk(0) if rows.num_rows else pa.array([], pa.list_(pa.string()))
    lengths = np.diff(effects.offsets.to_numpy())
    flat = {name: rows[name].chunk(0).flatten() for name in ("n", "a", "b")}
    mine = np.asarray(effects.flatten().to_numpy(zero_copy_only=False) == effect_id)
    owner = np.repeat(np.arange(len(lengths)), lengths)[mine]
    cell = rows["cell"].to_numpy(zero_copy_only=False)[owner].astype(str)
    rep = rows["rep"].to_numpy()[owner]
    n, a, b = (flat[name].to_numpy(zero_copy_only=False)[mine] for name in ("n", "a", "b"))
    if rename:
        named = zip(cell, n, strict=True)
        cell = np.array([_bucket(str(label)) if units else label for label, units in named], str)
    return {
        int(each): CellSeries(cell[rep == each], a[rep == each], b[rep == each])
        for each in np.unique(rep)
    }


def _bucket(label: str) -> str:
    return label if label.startswith(_BUCKET) else bucket_name(label)


def _influence(series: Mapping[int, CellSeries], row: Row) -> Influence:
    facts: Any = (row["theta"], row["se"], row["n_clusters"])
    return influence([series[rep] for rep in sorted(series)], *facts)
