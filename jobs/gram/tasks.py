"""What workers do: imports little, since every worker process imports it anew."""

from __future__ import annotations

from dataclasses import dataclass

from estimators.gram.accumulate import accumulate
from estimators.gram.keyed import Keyed
from estimators.gram.layout import Layout
from estimators.gram.moments import Fitted
from estimators.gram.partials import Partial
from estimators.gram.record_pass import Recording, record_pass
from jobs.gram.blocks import Block, Blocks, in_repetition


@dataclass(frozen=True, slots=True)
class BlockSums:
    """A block's partials by repetition, each in the order of its folds."""

    block: Block
    reps: tuple[tuple[Partial, ...], ...]


def sum_block(shared: tuple[Layout, Blocks], block: Block) -> BlockSums:
    """The partial Grams of a block, for every repetition."""
    layout, file = shared
    rows = file.read(block)
    reps = (
        tuple(accumulate(layout, in_repetition(rows, rep), slice_=block.slice))
        for rep in range(file.frame.reps)
    )
    return BlockSums(block, tuple(reps))


def record_blocks(
    shared: tuple[Layout, Blocks, Fitted, int, Recording], blocks: tuple[Block, ...]
) -> list[tuple[int, int, Keyed]]:
    """Sums of the record of some blocks' rows in one repetition, by leaf."""
    layout, file, fitted, rep, what = shared
    return record_pass(layout, in_repetition(file.read(*blocks), rep), fitted, what)
