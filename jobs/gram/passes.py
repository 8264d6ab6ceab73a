"""The two passes over blocks: partial Grams, then scores by cell. Only sums come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from estimators.gram.by_row import Arm, ByRow
from estimators.gram.keyed import Keyed
from estimators.gram.layout import Layout
from estimators.gram.logistic import PASSES, advance
from estimators.gram.logistic_pass import Logistic
from estimators.gram.moments import Fitted
from estimators.gram.partials import Sums, Tree, nothing
from estimators.gram.record_pass import Recording
from estimators.gram.row_pass import RowRecording
from jobs.gram import partials, tasks
from jobs.gram.blocks import Block, Blocks
from jobs.gram.workers import Workers
from jobs.ledger import Progress

TOGETHER = 24_000_000
"""Bytes of partials that are read or committed together."""


@dataclass(frozen=True, slots=True)
class FirstPass:
    """Merged sums of each repetition and fold, and how many blocks the table knew."""

    sums: tuple[tuple[Sums, ...], ...]
    reused: int


def first_pass(
    layout: Layout,
    file: Blocks,
    blocks: Sequence[Block],
    crew: Workers,
    root: str,
    *,
    reuse: bool,
    progress: Progress,
    arm: Arm | None = None,
) -> FirstPass:
    """Sum every block, or take its sums from the table; new ones are committed as they come.

    Parameters
    ----------
    reuse
        Read and write the table; else compute everything and write nothing.
    arm
        Sum the rows of this arm alone.
    """
    reps = file.frame.reps
    trees: list[list[Tree[Sums]]] = [[Tree() for _ in range(layout.folds)] for _ in range(reps)]
    name = partials.name_of(layout, arm, crew.device)
    there = partials.known(root, name, blocks) if reuse else set()
    fresh = [each for each in blocks if each.place not in there]
    shared = (layout, file, arm, crew.products)
    memory = _memory(layout, file, fresh)
    sums = crew.each(tasks.sum_block, shared, fresh, memory, on_device=True)
    done = 0
    for part in _together(layout, blocks, reps):
        found = partials.read(root, name, layout, [each for each in part if each.place in there])
        new = [next(sums) for each in part if each.place not in there]
        if reuse and new:
            partials.append(root, name, new)
        found |= {each.block.place: each for each in new}
        done += len(part)
        note = "partial Grams" if arm is None else f"partial Grams of {arm[0]}={arm[1]}"
        progress("crossfit", done, len(blocks), note)
        for block in part:
            for rep, leaves in enumerate(found[block.place].reps):
                for leaf in leaves:
                    position = leaf.leaf.position(layout.depth)
                    trees[rep][leaf.leaf.fold].push(position, leaf.sums)
    merged = tuple(tuple(each.result() or nothing(layout) for each in rep) for rep in trees)
    return FirstPass(merged, len(there))


def _together(layout: Layout, blocks: Sequence[Block], reps: int) -> Iterator[Sequence[Block]]:
    size = max(1, TOGETHER // (8 * layout.packed * layout.folds * reps))
    for start in range(0, len(blocks), size):
        yield blocks[start : start + size]


def second_pass(
    layout: Layout,
    file: Blocks,
    blocks: Sequence[Block],
    crew: Workers,
    fitted: Fitted,
    *,
    rep: int,
    what: Recording,
    progress: Progress,
) -> list[Keyed]:
    """Sums of the record by fold. Where clusters are summed, a task has all slices of a bucket."""
    work = _work(blocks, clustered=what.clustered)
    trees: list[Tree[Keyed]] = [Tree() for _ in range(layout.folds)]
    memory = max(_memory(layout, file, each, together=True) for each in work)
    shared = (layout, file, fitted, rep, what, crew.products)
    found = crew.each(tasks.record_blocks, shared, work, memory, on_device=True)
    for done, (task, leaves) in enumerate(zip(work, found, strict=True), 1):
        first = 0 if what.clustered else task[0].slice
        for fold, bucket, keyed in leaves:
            trees[fold].push(first << layout.depth | bucket, keyed)
        progress("crossfit", done, len(work), f"scores of repetition {rep}")
    return [tree.result() or Keyed({}) for tree in trees]


def propensities(
    layout: Layout,
    file: Blocks,
    blocks: Sequence[Block],
    crew: Workers,
    state: Logistic,
    *,
    rep: int,
    mask: str,
    progress: Progress,
) -> Logistic:
    """Newton steps over all blocks until they are small; no pass of it can be used again."""
    memory = _memory(layout, file, blocks)
    while not state.done:
        shared = (layout, file, state, rep, mask, crew.products)
        found = crew.each(tasks.step_propensities, shared, blocks, memory, on_device=True)
        state = advance(state, (part for parts in found for part in parts))
        progress("crossfit", state.passes, PASSES, f"propensities, {PASSES} passes at most")
    return state


def row_sums(
    layout: Layout,
    file: Blocks,
    blocks: Sequence[Block],
    crew: Workers,
    fitted: ByRow,
    *,
    what: RowRecording,
    progress: Progress,
) -> Keyed:
    """Sums of the record by the path of rows."""
    work = _work(blocks, clustered=what.clustered)
    tree: Tree[Keyed] = Tree()
    memory = max(_memory(layout, file, each, together=True) for each in work)
    memory += 24 * len(fitted.targets) * max(sum(each.n for each in task) for task in work)
    found = crew.each(tasks.score_rows, (layout, file, fitted, what), work, memory)
    for done, (task, keyed) in enumerate(zip(work, found, strict=True), 1):
        first = 0 if what.clustered else task[0].slice
        tree.push(first << layout.depth | task[0].bucket, keyed)
        progress("crossfit", done, len(work), f"scores of repetition {what.rep}")
    return tree.result() or Keyed({})


def _work(blocks: Sequence[Block], *, clustered: bool) -> list[tuple[Block, ...]]:
    """Blocks of each task: one, or all slices of a bucket where clusters must be whole."""
    if not clustered:
        return [(each,) for each in blocks]
    by_bucket = sorted(blocks, key=lambda each: (each.bucket, each.slice))
    return [tuple(each) for _, each in groupby(by_bucket, key=lambda each: each.bucket)]


def _memory(
    layout: Layout, file: Blocks, blocks: Sequence[Block], *, together: bool = False
) -> int:
    """Bytes of a task: its rows as read and sorted, and a block's columns and scores."""
    counts = [each.n for each in blocks]
    rows = sum(counts) if together else max(counts, default=0)
    wide = layout.q + (len(layout.treatments) + 1) * (len(layout.treatments) + len(layout.outcomes))
    return 200_000_000 + 8 * (3 * rows * len(file.frame.rows) + 3 * wide * layout.block)
