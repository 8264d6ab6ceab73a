"""Rows set aside on disk, block by block (slice and bucket), so that memory does not grow.

The features lie sorted by unit; a block's rows come from all over them. One walk writes each
batch's rows block by block into one file, and a task reads its own pieces from there, twice.
"""

from __future__ import annotations

import platform
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from estimators.errors import PlatformError, Where
from estimators.gram.columns import Coded, Column, Rows
from estimators.gram.layout import WHOLE
from estimators.gram.record_pass import CELL
from jobs.gram.content import Place
from jobs.gram.frame import Frame

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cut:
    """How rows are cut into blocks.

    Attributes
    ----------
    slice_days
        Days of a slice; 0: all rows are one slice.
    depth
        A bucket is the top `depth` bits of a row's place.
    """

    slice_days: int
    depth: int

    def slices(self, times: pa.ChunkedArray) -> NDArray[np.int64]:
        """Slice of each row: days since the epoch of the slice's first day."""
        if self.slice_days == 0:
            return np.zeros(len(times), dtype=np.int64)
        micros = times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        days = np.floor_divide(micros, 86_400_000_000)
        return np.asarray(np.floor_divide(days, self.slice_days) * self.slice_days)

    def buckets(self, place: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Bucket of each row."""
        if self.depth == 0:
            return np.zeros(len(place), dtype=np.int64)
        return (place >> np.uint64(WHOLE - self.depth)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Block:
    """All rows of a slice and a bucket.

    Attributes
    ----------
    pieces
        Offset in the file, in bytes, and number of rows of each, one after the other: where rows
        lie sorted by unit, every batch leaves a piece of every block.
    digest
        Of the rows.
    """

    slice: int
    bucket: int
    pieces: array[int]
    digest: str

    @property
    def n(self) -> int:
        """Rows."""
        return sum(self.pieces[1::2])

    @property
    def place(self) -> Place:
        """Slice and bucket."""
        return self.slice, self.bucket


class BlockFile:
    """The file while it is written."""

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink
        self.offset = 0
        self.pieces: dict[Place, array[int]] = {}

    def write(self, places: Mapping[Place, slice], rows: Doubles) -> None:
        """Append a batch, ``(columns, rows)``, whose rows lie block by block."""
        for place, part in places.items():
            piece = np.ascontiguousarray(rows[:, part])
            self.sink.write(piece.data)
            mine = self.pieces.setdefault(place, array("q"))
            mine.extend((self.offset, part.stop - part.start))
            self.offset += piece.nbytes


def places_of(slices: NDArray[np.int64], buckets: NDArray[np.int64]) -> dict[Place, slice]:
    """Blocks of rows that lie block by block, ascending."""
    change = (slices[1:] != slices[:-1]) | (buckets[1:] != buckets[:-1])
    bounds = [0, *(np.flatnonzero(change) + 1).tolist(), len(slices)]
    return {
        (int(slices[start]), int(buckets[start])): slice(start, stop)
        for start, stop in pairwise(bounds)
        if stop > start
    }


@dataclass(frozen=True, slots=True)
class Blocks:
    """The written file: what a worker needs to read its own.

    Attributes
    ----------
    labels
        Labels by code of each category.
    """

    path: str
    frame: Frame
    labels: Mapping[str, tuple[str, ...]]

    def read(self, *blocks: Block) -> Rows:
        """All rows of some blocks, in no order."""
        names = self.frame.rows
        out = np.empty((len(names), sum(block.n for block in blocks)))
        at = 0
        for piece in self._pieces(blocks):
            out[:, at : at + piece.shape[1]] = piece
            at += piece.shape[1]
        return rows_of(self.frame, dict(zip(names, out, strict=True)), self.labels)

    def _pieces(self, blocks: tuple[Block, ...]) -> Iterator[Doubles]:
        columns = len(self.frame.rows)
        try:
            opened = open(self.path, "rb", buffering=0)  # noqa: SIM115  closed below
        except FileNotFoundError as error:
            raise PlatformError(
                f"a worker on {platform.node()} does not see the rows that were set aside for it",
                code="home_not_shared",
                where=Where(file=self.path),
                remedy="put CAUSEWAY_HOME on a disk that all workers mount under the same path, or"
                " let this machine alone work (`ray.address: local`)",
            ) from error
        with opened as source:
            for block in blocks:
                for offset, n in zip(block.pieces[::2], block.pieces[1::2], strict=True):
                    source.seek(offset)
                    piece = np.fromfile(source, dtype=np.float64, count=columns * n)
                    yield piece.reshape(columns, n)


def in_repetition(rows: Rows, rep: int) -> Rows:
    """The rows with the folds of a repetition."""
    return replace(rows, fold=rows.marks[f"fold {rep}"])


def rows_of(
    frame: Frame, row: Mapping[str, Doubles], labels: Mapping[str, tuple[str, ...]]
) -> Rows:
    """Columns by name as the engine's rows; groups, cells and all folds are marks."""
    folds = [f"fold {rep}" for rep in range(frame.reps)]
    marks = {name: row[name].astype(np.int16) for name in folds}
    marks |= {name: row[f"by {name}"].astype(np.int64) for name in frame.group_names}
    covariates: dict[str, Column] = {name: row[name] for name in frame.numbers}
    for name in frame.categories:
        covariates[name] = Coded(row[name].astype(np.int64), labels[name])
    return Rows(
        covariates,
        {name: row[name] for name in frame.treatments},
        {name: row[name] for name in frame.outcomes},
        row["weight"],
        marks[folds[0]],
        row["unit"].view(np.uint64),
        row["place"].view(np.uint64),
        marks | {CELL: row["cell"].astype(np.int64)},
    )
