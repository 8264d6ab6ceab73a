"""One walk over the feature files: rows set aside by block, counted, sampled, and digested."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conf.profile import Profile
from estimators.errors import ContractError, PlatformError, Where
from estimators.gram.census import Census
from estimators.gram.columns import Rows
from estimators.gram.pinning import SAMPLE, smallest
from jobs.gram.blocks import Block, BlockFile, Blocks, Cut, places_of, rows_of
from jobs.gram.content import Contents, bits, label_hashes, row_hashes
from jobs.gram.frame import Frame
from jobs.gram.labels import Labels, hashes, place
from jobs.gram.reading import batches
from jobs.ledger import Progress, Stage
from jobs.scratch import scratch
from jobs.unit_table import BUCKETS, in_buckets

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spilled:
    """Rows by block, and what one look at all of them tells.

    Attributes
    ----------
    blocks
        Ascending by slice and bucket.
    sample
        The units with the smallest hashes: a basis is pinned on them.
    cells
        Labels of the cells, sorted, and the rank of each code among them.
    groups
        The same by grouping.
    """

    file: Blocks
    blocks: tuple[Block, ...]
    census: Census
    sample: Rows
    cells: tuple[tuple[str, ...], NDArray[np.int64]]
    groups: dict[str, tuple[tuple[str, ...], NDArray[np.int64]]]


@contextmanager
def room_for_rows(profile: Profile, frame: Frame, rows: int) -> Iterator[Path]:
    """A folder under the home for the rows, deleted afterwards.

    Raises
    ------
    PlatformError
        The disk has no room for them (``disk_full``).
    """
    with scratch(profile.home, "gram") as folder:
        need, free = 8 * rows * len(frame.rows), shutil.disk_usage(folder).free
        if need > free:
            raise PlatformError(
                f"{rows:,} rows of {len(frame.rows)} columns take {need / 1e9:.0f} GB beside the "
                f"features, and {free / 1e9:.0f} GB are free",
                code="disk_full",
                where=Where(table=str(folder.parent)),
                remedy="free the space (`causeway maintain`), or put CAUSEWAY_HOME on a larger"
                " disk",
            )
        yield folder


def spill(
    features: Stage, frame: Frame, profile: Profile, cut: Cut, *, folder: Path, progress: Progress
) -> Spilled:
    """Walk over the features once.

    Raises
    ------
    ContractError
        A treatment, an outcome or a covariate has infinite values (``not_finite``).
    """
    walk = _Walk(features, frame, profile, cut)
    path = folder / "rows"
    done = 0
    with path.open("wb") as sink:
        file = BlockFile(sink)
        for batch in batches(features, profile, frame.columns):
            walk.add(batch, file)
            done += len(batch)
            del batch  # the next one is read now
            progress("crossfit", done, features.rows, "rows by block")
    return walk.finish(str(path), file)


class _Walk:
    def __init__(self, features: Stage, frame: Frame, profile: Profile, cut: Cut) -> None:
        self.features, self.frame, self.cut = features, frame, cut
        self.categories = {name: Labels() for name in frame.categories}
        self.groups = {name: Labels() for name in frame.group_names}
        self.cells = Labels()
        self.bucketed = bucketed(frame, features)
        self.contents = Contents()
        self.census: Census | None = None
        self.sample: Rows | None = None

    def add(self, batch: pa.Table, file: BlockFile) -> None:
        """Take a batch in."""
        own = hashes(batch["unit_id"])
        owner = hashes(batch["cluster_id"]) if self.frame.clustered else own
        slices, buckets = self.cut.slices(batch["unit_time"]), self.cut.buckets(place(owner))
        order = np.lexsort((buckets, slices))
        whole = np.empty((len(self.frame.rows), len(batch)))
        for out, column in zip(whole, self._columns(batch, own, owner), strict=True):
            np.take(column, order, out=out, mode="clip")
        row = dict(zip(self.frame.rows, whole, strict=True))
        places = places_of(slices[order], buckets[order])
        file.write(places, whole)
        self.contents.add(places, self._hashes(row))
        self._look(row)

    def finish(self, path: str, file: BlockFile) -> Spilled:
        """What the walk found."""
        if self.census is None or self.sample is None:
            raise ValueError("no row under the features' key")
        blocks = tuple(
            Block(*at, pieces, self.contents.digest(at))
            for at, pieces in sorted(file.pieces.items())
        )
        labels = {name: each.labels for name, each in self.categories.items()}
        cells = _sorted(self.cells)
        if self.bucketed:
            cells = tuple(f"bucket:{i:04d}" for i in range(BUCKETS)), np.arange(BUCKETS)
        return Spilled(
            Blocks(path, self.frame, labels),
            blocks,
            self.census,
            self.sample,
            cells,
            {name: _sorted(each) for name, each in self.groups.items()},
        )

    def _columns(
        self, batch: pa.Table, own: NDArray[np.uint64], owner: NDArray[np.uint64]
    ) -> Iterator[Doubles]:
        """A batch's columns in the order of `Frame.rows`, one in memory at a time."""
        frame = self.frame
        for name in (*frame.numbers, *frame.treatments, *frame.outcomes, "weight"):
            yield self._number(batch, name)
        for name, each in self.categories.items():
            yield each.encode(batch[name]).astype(np.float64)
        flat = pc.list_flatten(batch["fold"]).to_numpy().reshape(len(batch), -1)
        for rep in range(frame.reps):
            yield flat[:, rep].astype(np.float64)
        for name, columns in zip(frame.group_names, frame.groupings, strict=True):
            yield self.groups[name].encode(_crossed(batch, columns)).astype(np.float64)
        if self.bucketed:
            yield (owner % np.uint64(BUCKETS)).astype(np.float64)
        else:
            named = batch["cluster_id"] if frame.clustered else batch["unit_id"]
            yield self.cells.encode(named).astype(np.float64)
        yield own.view(np.float64)
        yield place(owner).view(np.float64)

    def _number(self, batch: pa.Table, name: str) -> Doubles:
        source, arm = self.frame.arms.get(name, (name, None))
        column = batch[source] if arm is None else pc.equal(batch[source].cast(pa.string()), arm)
        values = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
        count = int(np.isinf(values).sum())
        if count:
            raise ContractError(
                f"{count} of {len(values)} values are infinite, or too large for a learner",
                code="not_finite",
                where=Where(table=self.features.table, version=self.features.version, column=name),
                remedy="make them NULL in the unit SQL, or leave their units out",
            )
        return values

    def _hashes(self, row: dict[str, Doubles]) -> NDArray[np.uint64]:
        """Of what enters partial Grams: neither cells nor groups do."""
        frame = self.frame
        folds = [f"fold {rep}" for rep in range(frame.reps)]
        numbers = (*frame.numbers, *frame.treatments, *frame.outcomes, "weight", *folds)

        def columns() -> Iterator[NDArray[np.uint64]]:
            for name in numbers:
                yield bits(row[name])
            for name, labels in self.categories.items():
                yield label_hashes(labels.labels)[row[name].astype(np.int64)]
            for name in ("unit", "place"):
                yield row[name].view(np.uint64)

        return row_hashes(columns(), len(row["weight"]))

    def _look(self, row: dict[str, Doubles]) -> None:
        frame = self.frame
        labels = {name: each.labels for name, each in self.categories.items()}
        rows = rows_of(frame, row, labels)
        fold = np.stack([row[f"fold {rep}"] for rep in range(frame.reps)], axis=1)
        counted = Census.of(
            rows.treatments, rows.outcomes, frame.own_rows, fold.astype(np.int64), frame.k
        )
        self.census = counted if self.census is None else self.census + counted
        if self.sample is not None and self.sample.n == SAMPLE:
            rows = rows.take(rows.unit < self.sample.unit.max())
        kept = [rows] if self.sample is None else [self.sample, rows]
        self.sample = smallest(kept)


def bucketed(frame: Frame, features: Stage) -> bool:
    """Whether cells are hash buckets of clusters (of units), which are too many."""
    return in_buckets(int((features.detail or {})["clusters"]), clustered=frame.clustered)


def _sorted(labels: Labels) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    return tuple(sorted(labels.code)), labels.rank


def _crossed(batch: pa.Table, columns: tuple[str, ...]) -> pa.ChunkedArray:
    """Labels of a grouping, as `effects.crossed_label` has them; NULL where a column is."""
    parts = [batch[name].cast(pa.string()) for name in columns]
    if len(parts) == 1:
        return parts[0]
    for mark in ("\\", "*"):
        parts = [pc.replace_substring(each, mark, f"\\{mark}") for each in parts]
    return pc.binary_join_element_wise(*parts, "*", null_handling="emit_null")
