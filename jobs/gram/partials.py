"""The table of partial Grams: which blocks it knows, their sums, and new ones appended.

A block (slice and bucket) is committed whole, all repetitions and folds at once, with the digest
of its rows; it is taken again where that digest is equal. Nothing is ever changed in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from estimators.gram.blas import packed_size
from estimators.gram.by_row import Arm
from estimators.gram.layout import Layout
from estimators.gram.partials import Leaf, Partial, Sums
from jobs.contracts import DOUBLES, GRAM_PARTIALS
from jobs.gram.blocks import Block
from jobs.gram.content import Place
from jobs.gram.tasks import BlockSums
from jobs.lake import append_once, read_record

NAME = "gram_partials"
_ARRAYS = ("gram", "missing", "n_missing", "strays")


def name_of(layout: Layout, arm: Arm | None, device: str = "cpu") -> str:
    """The table's `layout_digest`: of an arm's rows with the arm, ``<digest>/call=1``.

    Sums made on another kind of device round differently: ``cuda:<digest>`` is never taken for
    ``<digest>``.
    """
    name = layout.digest if device == "cpu" else f"{device}:{layout.digest}"
    return name if arm is None else f"{name}/{arm[0]}={arm[1]}"


def known(root: str, name: str, blocks: Sequence[Block]) -> set[Place]:
    """Blocks whose partials are in the table under a name (`name_of`), of these very rows."""
    where = (ds.field("layout_digest") == name) & (ds.field("rep") == 0)
    rows = read_record(root, NAME, where, ["slice", "bucket", "rows_digest"])
    columns = (rows[name].to_pylist() for name in ("slice", "bucket", "rows_digest"))
    there = set(zip(*columns, strict=True))
    return {each.place for each in blocks if (*each.place, each.digest) in there}


def read(root: str, name: str, layout: Layout, blocks: Sequence[Block]) -> dict[Place, BlockSums]:
    """The partials of some blocks that the table knows."""
    if not blocks:
        return {}
    slices = [each.slice for each in blocks]
    where = (
        (ds.field("layout_digest") == name)
        & (ds.field("slice") >= min(slices))
        & (ds.field("slice") <= max(slices))
        & ds.field("rows_digest").isin([each.digest for each in blocks])
    )
    rows = read_record(root, NAME, where).combine_chunks()
    found: dict[Place, dict[tuple[int, int], Partial]] = {}
    columns = {name: rows[name] for name in GRAM_PARTIALS.names}
    plain = {name: columns[name].to_pylist() for name in ("rep", "slice", "fold", "bucket", "n")}
    for i, at in enumerate(zip(*plain.values(), strict=True)):
        rep, slice_, fold, bucket, n = at
        gram, missing, n_missing, strays = (_array(columns[name], i) for name in _ARRAYS)
        missing = missing.reshape(len(layout.own_rows), packed_size(layout.with_treatments))
        sums = Sums(n, gram, missing, n_missing, strays)
        leaf = Leaf(fold, slice_, bucket)
        found.setdefault((slice_, bucket), {})[rep, fold] = Partial(leaf, sums)
    return {block.place: BlockSums(block, _by_rep(found[block.place])) for block in blocks}


def _array(column: pa.ChunkedArray, i: int) -> NDArray[Any]:
    return np.asarray(column[i].values.to_numpy())


def _by_rep(leaves: Mapping[tuple[int, int], Partial]) -> tuple[tuple[Partial, ...], ...]:
    reps = 1 + max(rep for rep, _ in leaves)
    return tuple(tuple(leaves[at] for at in sorted(leaves) if at[0] == rep) for rep in range(reps))


def append(root: str, name: str, found: Sequence[BlockSums]) -> None:
    """Commit new blocks, all at once; a block that came in between is there twice, alike.

    One without a row of the arm has nothing to commit.
    """
    full = [each for each in found if each.reps[0]]
    if not full:
        return
    names = "|".join(f"{each.block.place}{each.block.digest}" for each in full)
    key = hashlib.sha256(f"{name}|{names}".encode()).hexdigest()
    append_once(root, NAME, f"gram:{key}", _table(name, full))


def _table(name: str, found: Sequence[BlockSums]) -> pa.Table:
    leaves = [
        (each.block.digest, rep, partial)
        for each in found
        for rep, partials in enumerate(each.reps)
        for partial in partials
    ]
    sums = [partial.sums for _, _, partial in leaves]
    columns = [
        pa.repeat(name, len(leaves)),
        pa.array([rep for _, rep, _ in leaves], pa.int32()),
        pa.array([partial.leaf.slice for _, _, partial in leaves], pa.int64()),
        pa.array([partial.leaf.fold for _, _, partial in leaves], pa.int32()),
        pa.array([partial.leaf.bucket for _, _, partial in leaves], pa.int64()),
        pa.array([digest for digest, _, _ in leaves], pa.string()),
        pa.array([each.n for each in sums], pa.int64()),
        _lists([each.gram for each in sums], DOUBLES),
        _lists([each.missing.ravel() for each in sums], DOUBLES),
        _lists([each.n_missing for each in sums], pa.list_(pa.int64())),
        _lists([each.strays for each in sums], pa.list_(pa.int64())),
    ]
    return pa.table(columns, schema=GRAM_PARTIALS)


def _lists(values: Sequence[NDArray[np.generic]], kind: pa.ListType) -> pa.ListArray:
    ends = np.cumsum([0, *(len(each) for each in values)]).astype(np.int32)
    flat = pa.array(np.concatenate(values), kind.value_type)
    return pa.ListArray.from_arrays(pa.array(ends), flat, type=kind)
