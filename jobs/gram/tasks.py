"""What workers do: imports little, since every worker process imports it anew."""

from __future__ import annotations

from dataclasses import dataclass

from estimators.gram.accumulate import accumulate
from estimators.gram.by_row import Arm, ByRow, in_arm, observed
from estimators.gram.keyed import Keyed
from estimators.gram.layout import Layout
from estimators.gram.logistic_pass import Logistic, LogisticSums, logistic_pass
from estimators.gram.moments import Fitted
from estimators.gram.partials import Partial
from estimators.gram.record_pass import Recording, record_pass
from estimators.gram.row_pass import RowRecording, row_pass
from jobs.gram.blocks import Block, Blocks, in_repetition
from jobs.gram.products import Opener


@dataclass(frozen=True, slots=True)
class BlockSums:
    """A block's partials by repetition, each in the order of its folds."""

    block: Block
    reps: tuple[tuple[Partial, ...], ...]


def sum_block(shared: tuple[Layout, Blocks, Arm | None, Opener], block: Block) -> BlockSums:
    """The partial Grams of a block (of an arm's rows in it), for every repetition."""
    layout, file, arm, opened = shared
    products = opened()
    rows = in_arm(file.read(block), arm)
    reps = (
        tuple(accumulate(layout, in_repetition(rows, rep), slice_=block.slice, products=products))
        for rep in range(file.frame.reps)
    )
    return BlockSums(block, tuple(reps))


def record_blocks(
    shared: tuple[Layout, Blocks, Fitted, int, Recording, Opener], blocks: tuple[Block, ...]
) -> list[tuple[int, int, Keyed]]:
    """Sums of the record of some blocks' rows in one repetition, by leaf."""
    layout, file, fitted, rep, what, opened = shared
    return record_pass(layout, in_repetition(file.read(*blocks), rep), fitted, what, opened())


def step_propensities(
    shared: tuple[Layout, Blocks, Logistic, int, str, Opener], block: Block
) -> list[tuple[int, int, LogisticSums]]:
    """A block's share of a pass for propensities on the rows of a mask, by fold and position."""
    layout, file, state, rep, mask, opened = shared
    rows = observed(in_repetition(file.read(block), rep), mask)
    return [
        (fold, block.slice << layout.depth | bucket, sums)
        for fold, bucket, sums in logistic_pass(layout, rows, state, opened())
    ]


def score_rows(
    shared: tuple[Layout, Blocks, ByRow, RowRecording], blocks: tuple[Block, ...]
) -> Keyed:
    """Sums of the record of some blocks' rows, by the path of rows."""
    layout, file, fitted, what = shared
    return row_pass(layout, in_repetition(file.read(*blocks), what.rep), fitted, what)
