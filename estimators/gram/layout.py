"""The frame of a table of partial Grams: columns, folds, buckets and block length, pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.gram.basis import Basis, digest_of
from estimators.gram.blas import packed_size
from estimators.gram.columns import Hashes, Rows
from estimators.gram.pinning import centres

BLOCK = 6000
"""Rows of a block: about 10 MB at 200 columns. Short blocks slow ``dsyrk`` down, and a power of two
puts the starts of all columns on the same cache lines."""
WHOLE = 64
"""Depth at which a bucket is one cluster: the whole hash."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What two partial Grams must share to be added.

    The q columns of a block are the constant, p basis columns, J treatments and M outcomes.

    Attributes
    ----------
    basis
        The pinned basis.
    treatments, outcomes
        Names, J and M of them.
    centre
        ``(J + M,)`` pinned centres of the treatments and outcomes.
    own_rows
        Outcomes that may be missing: each is estimated on the rows where it is observed.
    folds
        Number of folds, K.
    depth
        A bucket is the top `depth` bits of `Rows.place`; 64 makes each cluster its own bucket.
    block
        Rows of a block.
    """

    basis: Basis
    treatments: tuple[str, ...]
    outcomes: tuple[str, ...]
    centre: tuple[float, ...]
    own_rows: tuple[str, ...]
    folds: int
    depth: int
    block: int = BLOCK

    @property
    def p(self) -> int:
        """Regressors: the constant and the basis columns."""
        return 1 + self.basis.size

    @property
    def with_treatments(self) -> int:
        """Columns that lie before the outcomes."""
        return self.p + len(self.treatments)

    @property
    def q(self) -> int:
        """All columns."""
        return self.with_treatments + len(self.outcomes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the q columns."""
        return ("(constant)", *self.basis.names, *self.treatments, *self.outcomes)

    @property
    def packed(self) -> int:
        """Doubles of a packed Gram."""
        return packed_size(self.q)

    def buckets(self, place: Hashes) -> Hashes:
        """Bucket of each row."""
        if self.depth == 0:
            return np.zeros(len(place), dtype=np.uint64)
        return np.asarray(place >> np.uint64(WHOLE - self.depth), dtype=np.uint64)

    def as_data(self) -> dict[str, Any]:
        """Plain data; JSON keeps the floats exactly."""
        return {
            "basis": self.basis.as_data(),
            "treatments": list(self.treatments),
            "outcomes": list(self.outcomes),
            "centre": list(self.centre),
            "own_rows": list(self.own_rows),
            "folds": self.folds,
            "depth": self.depth,
            "block": self.block,
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Layout:
        """Read what `as_data` wrote."""
        return Layout(
            Basis.from_data(data["basis"]),
            tuple(data["treatments"]),
            tuple(data["outcomes"]),
            tuple(data["centre"]),
            tuple(data["own_rows"]),
            data["folds"],
            data["depth"],
            data["block"],
        )

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex: the key of the table of partial Grams."""
        return digest_of(self.as_data())


def lay_out(
    basis: Basis, sample: Rows, *, folds: int, depth: int, own_rows: tuple[str, ...] = ()
) -> Layout:
    """Lay out a table on a pinned basis; treatments and outcomes are centred on the sample.

    Parameters
    ----------
    sample
        From `pinning.smallest`; its treatments and outcomes, in order, are those of the layout.
    depth
        Choose it for the rows that one worker can hold (rows of a slice / 2^depth, 600 bytes a
        row at 75 columns), and never change it: it is part of the digest.
    """
    columns: list[NDArray[np.float64]] = [*sample.treatments.values(), *sample.outcomes.values()]
    return Layout(
        basis,
        tuple(sample.treatments),
        tuple(sample.outcomes),
        centres(columns),
        own_rows,
        folds,
        depth,
    )
