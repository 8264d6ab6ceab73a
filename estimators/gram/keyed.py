"""Sums by key: what a second pass brings back when cells, groups and checks are summed too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from estimators.gram.blas import Doubles

Key = tuple[str, str, int, int]
"""Kind of sum, grouping (empty for the totals), code of the group, code of the cell."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """Arrays by key; two can be added, and a key that only one has is taken over."""

    parts: Mapping[Key, Doubles]

    def __add__(self, other: Keyed) -> Keyed:
        total = dict(self.parts)
        for key, values in other.parts.items():
            mine = total.get(key)
            total[key] = values if mine is None else mine + values
        return Keyed(total)

    def of(self, kind: str, grouping: str = "") -> Iterator[tuple[int, int, Doubles]]:
        """Group, cell and values of a kind, in ascending order."""
        found = (key for key in self.parts if key[0] == kind and key[1] == grouping)
        for key in sorted(found):
            yield key[2], key[3], self.parts[key]
