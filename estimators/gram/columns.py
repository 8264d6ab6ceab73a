"""Rows as the Gram engine reads them: columns by name, never one wide matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.blas import Doubles

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Coded:
    """A category column, dictionary-encoded.

    Attributes
    ----------
    codes
        ``(n,)`` int64 index into `labels`; -1 where missing.
    labels
        The labels of this batch, in any order.
    """

    codes: NDArray[np.int64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)


Column = Doubles | Coded


def coded(values: Sequence[str | None]) -> Coded:
    """Encode labels; None is missing."""
    labels = tuple(sorted({value for value in values if value is not None}))
    index: dict[str | None, int] = {label: code for code, label in enumerate(labels)}
    codes = np.fromiter((index.get(value, -1) for value in values), np.int64, len(values))
    return Coded(codes, labels)


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch of n units.

    Attributes
    ----------
    covariates
        Numbers ``(n,)`` float64 with NaN where missing, or `Coded` categories.
    treatments, outcomes
        ``(n,)`` float64 by name; an outcome is NaN where it is missing.
    weight
        ``(n,)`` sampling weights, not negative.
    fold
        ``(n,)`` fold of one repetition.
    unit
        ``(n,)`` uint64 hash of the unit's id: it orders the rows.
    place
        ``(n,)`` uint64 hash of the cluster's id (the unit's, without clusters): its top bits are
        the row's bucket.
    marks
        ``(n,)`` by name: what travels with the rows and enters no sum of products (cell, groups).
    """

    covariates: Mapping[str, Column]
    treatments: Mapping[str, Doubles]
    outcomes: Mapping[str, Doubles]
    weight: Doubles
    fold: NDArray[np.integer[Any]]
    unit: Hashes
    place: Hashes
    marks: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.weight)

    def take(self, index: NDArray[Any] | slice) -> Rows:
        """Rows by number, by mask, or a slice of them (a view)."""
        numbers = {name: x for name, x in self.covariates.items() if not isinstance(x, Coded)}
        groups = (numbers, self.treatments, self.outcomes, {"": self.weight})
        if isinstance(index, slice):
            cut = [{name: x[index] for name, x in group.items()} for group in groups]
        else:
            chosen = np.arange(self.n)[index]
            cut = _gather(groups, chosen)
        covariates = {
            name: Coded(x.codes[index], x.labels) if isinstance(x, Coded) else cut[0][name]
            for name, x in self.covariates.items()
        }
        fold, unit, place = self.fold[index], self.unit[index], self.place[index]
        marks = {name: x[index] for name, x in self.marks.items()}
        return Rows(covariates, cut[1], cut[2], cut[3][""], fold, unit, place, marks)

    def in_order(self, *major: NDArray[Any]) -> Rows:
        """The rows sorted by `major` keys (the last one first), then by unit.

        Equal hashes are ordered by the rows' values, so that the order of arrival shows nowhere.
        """
        if _ascending(*reversed(major), self.unit):
            return self
        order = np.lexsort((self.unit, *major))
        hashes = self.unit[order]
        if bool((hashes[1:] == hashes[:-1]).any()):
            order = np.lexsort((*self._values(), self.unit, *major))
        return self.take(order)

    def _values(self) -> list[NDArray[Any]]:
        columns = [*self.covariates.values(), *self.treatments.values(), *self.outcomes.values()]
        plain = [_ordinal(column) for column in columns]
        return [*plain, self.weight, self.place]


def _ascending(*keys: NDArray[Any]) -> bool:
    """Whether rows are sorted by their keys, the first one first, without a tie."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=np.bool_)
    for key in keys:
        if bool((tied & (key[1:] < key[:-1])).any()):
            return False
        tied &= key[1:] == key[:-1]
    return not bool(tied.any())


def _ordinal(column: Column) -> NDArray[Any]:
    """Values that sort in the same way in every batch."""
    if not isinstance(column, Coded):
        return column
    return np.array([*column.labels, ""], dtype=str)[column.codes]


def _gather(
    groups: Sequence[Mapping[str, Doubles]], index: NDArray[np.intp]
) -> list[dict[str, Doubles]]:
    """Rows of many columns into one allocation: page faults cost more than the copying."""
    out = np.empty((sum(len(group) for group in groups), len(index)))
    free = iter(out)
    return [
        {name: np.take(x, index, out=next(free), mode="clip") for name, x in group.items()}
        for group in groups
    ]


def join(batches: Sequence[Rows]) -> Rows:
    """Batches under one another."""
    first = batches[0]
    return Rows(
        {name: _join([each.covariates[name] for each in batches]) for name in first.covariates},
        {n: np.concatenate([each.treatments[n] for each in batches]) for n in first.treatments},
        {n: np.concatenate([each.outcomes[n] for each in batches]) for n in first.outcomes},
        np.concatenate([each.weight for each in batches]),
        np.concatenate([each.fold for each in batches]),
        np.concatenate([each.unit for each in batches]),
        np.concatenate([each.place for each in batches]),
        {n: np.concatenate([each.marks[n] for each in batches]) for n in first.marks},
    )


def _join(columns: Sequence[Column]) -> Column:
    if not isinstance(columns[0], Coded):
        return np.concatenate([each for each in columns if not isinstance(each, Coded)])
    parts = [each for each in columns if isinstance(each, Coded)]
    labels = tuple(sorted({label for each in parts for label in each.labels}))
    index = {label: code for code, label in enumerate(labels)}
    tables = [np.array([*(index[each] for each in part.labels), -1]) for part in parts]
    codes = [table[part.codes] for table, part in zip(tables, parts, strict=True)]
    return Coded(np.concatenate(codes).astype(np.int64), labels)
