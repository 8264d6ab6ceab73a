"""Texts as whole numbers, numbered as they come; what is written is ranked by label at the end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

_SEED = 42
_CELL_BITS = 12


class Labels:
    """A dictionary that grows: label to code."""

    def __init__(self) -> None:
        self.code: dict[str, int] = {}

    def encode(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """Codes of a text column; -1 where NULL."""
        index, distinct = _dictionary(column)
        own = [self.code.setdefault(label, len(self.code)) for label in distinct]
        return np.array([*own, -1], dtype=np.int64)[index]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels by code."""
        return tuple(self.code)

    @property
    def rank(self) -> NDArray[np.int64]:
        """Place of each code among the sorted labels."""
        rank = np.empty(len(self.code), dtype=np.int64)
        rank[[self.code[label] for label in sorted(self.code)]] = np.arange(len(self.code))
        return rank


def hashes(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """xxhash64 of each text, seed 42: the hash that names buckets of cells."""
    index, distinct = _dictionary(column)
    found = [xxhash.xxh64_intdigest(label.encode(), _SEED) for label in distinct]
    return np.array([*found, 0], dtype=np.uint64)[index]


def place(hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hash turned so that its last 12 bits, which name the cell's bucket, come first.

    A bucket of the engine (top bits) then holds whole buckets of cells.
    """
    low = np.uint64(_CELL_BITS)
    return (hashed << np.uint64(64 - _CELL_BITS)) | (hashed >> low)


def _dictionary(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().cast(pa.string()).dictionary_encode()
    distinct = encoded.dictionary.to_pylist()
    index = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
    return index.astype(np.int64), distinct
