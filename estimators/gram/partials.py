"""Partial Grams: mergeable sums of one leaf (fold, slice, bucket), and the fixed tree over them.

A leaf's bytes depend on its own rows alone; the tree depends on which leaves there are, not on
who computed them or when. A new day, a late day or an erased person therefore costs its leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from estimators.gram.blas import Doubles
from estimators.gram.evaluate import Longs
from estimators.gram.layout import Layout

T = TypeVar("T", bound="Addable")


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over rows; two of the same layout can be added.

    Attributes
    ----------
    n
        Units.
    gram
        Packed upper triangle of the weighted ``Z'Z``; a missing outcome counts as its centre.
    missing
        ``(D, packed)``: for each outcome with rows of its own, the Gram of the constant, the basis
        and the treatments over the rows where it is *missing*.
    n_missing
        ``(D,)`` units without the outcome.
    strays
        By covariate of the basis, values that the basis does not know (`Evaluator.strays`).
    """

    n: int
    gram: Doubles
    missing: Doubles
    n_missing: Longs
    strays: Longs

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.n + other.n,
            self.gram + other.gram,
            self.missing + other.missing,
            self.n_missing + other.n_missing,
            self.strays + other.strays,
        )


@dataclass(frozen=True, slots=True, order=True)
class Leaf:
    """Where a partial belongs.

    Attributes
    ----------
    fold
        Fold of its rows.
    slice
        A number the caller chooses and never changes: the day since the epoch, or 0.
    bucket
        Top bits of the rows' `place`.
    """

    fold: int
    slice: int
    bucket: int

    def position(self, depth: int) -> int:
        """Place in the tree of its fold."""
        return self.slice << depth | self.bucket


@dataclass(frozen=True, slots=True)
class Partial:
    """The sums of one leaf."""

    leaf: Leaf
    sums: Sums


class Addable(Protocol):
    """Sums of disjoint rows."""

    def __add__(self, other: Self, /) -> Self: ...


class Tree(Generic[T]):
    """Adds sums along the binary tree over their positions, as they come in ascending order.

    Two neighbours join at the highest bit in which their positions differ, so that a subtree's
    sum depends on the leaves under it alone: a worker may add an aligned range of positions
    (``[a 2^h, (a+1) 2^h)``) by itself and hand in one sum, and nothing changes. Memory is one sum
    a level.
    """

    def __init__(self) -> None:
        self.stack: list[tuple[int, T]] = []  # (height at which it joins its right neighbour, sum)
        self.last = -1

    def push(self, position: int, sums: T) -> None:
        """Add the next leaf.

        Raises
        ------
        ValueError
            A position comes twice, or out of order.
        """
        if position <= self.last:
            raise ValueError(f"leaf {position} after leaf {self.last}: each comes once, in order")
        if self.stack:
            height = (position ^ self.last).bit_length()
            self.stack[-1] = (height, self.stack[-1][1])
            while len(self.stack) > 1 and self.stack[-2][0] < height:
                right = self.stack.pop()[1]
                self.stack[-1] = (height, self.stack[-1][1] + right)
        self.stack.append((0, sums))
        self.last = position

    def result(self) -> T | None:
        """The sum of all leaves, None where there are none."""
        return reduce(_join, [sums for _, sums in reversed(self.stack)]) if self.stack else None


def _join(right: T, left: T) -> T:
    return left + right


def merge(parts: Iterable[tuple[int, T]]) -> T | None:
    """Add sums along the fixed tree: positions, strictly ascending, and sums."""
    tree: Tree[T] = Tree()
    for position, sums in parts:
        tree.push(position, sums)
    return tree.result()


def by_fold(layout: Layout, partials: Sequence[Partial]) -> list[Sums]:
    """Merge each fold's partials; a fold without rows has zeros."""
    ordered = sorted(partials, key=lambda each: each.leaf)
    merged = []
    for fold in range(layout.folds):
        parts = (
            (each.leaf.position(layout.depth), each.sums)
            for each in ordered
            if each.leaf.fold == fold
        )
        merged.append(merge(parts) or nothing(layout))
    return merged


def nothing(layout: Layout) -> Sums:
    """The sums of no rows."""
    own = len(layout.own_rows)
    r = layout.with_treatments
    return Sums(
        0,
        np.zeros(layout.packed),
        np.zeros((own, r * (r + 1) // 2)),
        np.zeros(own, dtype=np.int64),
        np.zeros(len(layout.basis.covariates), dtype=np.int64),
    )


def digest(layout: Layout, partials: Iterable[Partial]) -> str:
    """sha256 of the layout and of every leaf's bytes, in the order of the leaves; 64 hex."""
    total = hashlib.sha256(layout.digest.encode())
    for each in sorted(partials, key=lambda each: each.leaf):
        leaf, sums = each.leaf, each.sums
        total.update(f"|{leaf.fold},{leaf.slice},{leaf.bucket},{sums.n}|".encode())
        for values in (sums.n_missing, sums.strays):
            total.update(values.astype("<i8").tobytes())
        for doubles in (sums.gram, sums.missing):
            total.update((doubles + 0.0).astype("<f8").tobytes())  # one zero, not two
    return total.hexdigest()
