"""Digests of rows by block, so that a block whose rows are as they were is known for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import xxhash
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Place = tuple[int, int]
"""Slice and bucket."""

_SEEDS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


def bits(values: NDArray[np.float64]) -> Hashes:
    """Numbers as 64 bits; equal numbers have equal bits (one NaN, one zero)."""
    return np.where(np.isnan(values), np.nan, values + 0.0).view(np.uint64)


def label_hashes(labels: Iterable[str]) -> Hashes:
    """Hash of each label, and of the missing one at the end, where code -1 reads it."""
    found = [xxhash.xxh64_intdigest(label.encode()) for label in labels]
    return np.array([*found, 0x452821E638D01377], dtype=np.uint64)


def row_hashes(columns: Iterable[Hashes], n: int) -> NDArray[np.uint64]:
    """Two independent 64-bit hashes of each row, ``(2, n)``."""
    mixed = np.empty((2, n), dtype=np.uint64)
    mixed[:] = np.array(_SEEDS)[:, None]
    for column in columns:
        for row, factor in zip(mixed, _FACTORS, strict=True):
            np.bitwise_xor(row, column, out=row)
            np.multiply(row, factor, out=row)
            np.bitwise_xor(row, row >> np.uint64(29), out=row)
    return mixed


class Contents:
    """Sums of the rows' hashes by block: no matter in which order the rows come."""

    def __init__(self) -> None:
        self.sums: dict[Place, tuple[int, int, int]] = {}

    def add(self, places: Mapping[Place, slice], mixed: Hashes) -> None:
        """Add a batch whose rows lie block by block."""
        for place, rows in places.items():
            n, first, second = self.sums.get(place, (0, 0, 0))
            one, two = (int(each) for each in mixed[:, rows].sum(axis=1))
            whole = 1 << 64
            self.sums[place] = (
                n + rows.stop - rows.start,
                (first + one) % whole,
                (second + two) % whole,
            )

    def digest(self, place: Place) -> str:
        """Digest of a block's rows."""
        n, first, second = self.sums[place]
        return f"{n}-{first:016x}{second:016x}"
