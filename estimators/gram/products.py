"""Where symmetric products of blocks are made and summed: the engine's one step of cubic cost.

Here it is ``dsyrk`` of NumPy's BLAS; `on_device` does the same on a device of JAX.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from estimators.gram.blas import Doubles, add_product


class Totals(Protocol):
    """Sums of products ``block @ block.T``, added in the order in which they come."""

    def add(self, block: Doubles, at: int = 0) -> None:
        """Add the product of a C-ordered ``(size, rows)`` block, which may then be overwritten.

        Parameters
        ----------
        at
            The sum that it belongs to.
        """

    def result(self) -> Doubles:
        """``(count, size, size)`` sums, in this process's memory."""


class Products(Protocol):
    """A place where products are made."""

    def totals(self, size: int, count: int = 1) -> Totals:
        """Begin `count` sums of ``(size, size)`` products at zero."""


class OnHost:
    """Products on one thread of this process's BLAS (`blas.one_thread`)."""

    def totals(self, size: int, count: int = 1) -> Totals:
        """Begin `count` sums of ``(size, size)`` products at zero."""
        return _HostTotals(size, count)


class _HostTotals:
    def __init__(self, size: int, count: int) -> None:
        self.sums = np.zeros((count, size, size))
        self.scratch = np.empty((size, size))

    def add(self, block: Doubles, at: int = 0) -> None:
        add_product(self.sums[at], block, self.scratch)

    def result(self) -> Doubles:
        return self.sums


HOST: Products = OnHost()
"""It has no state: threads share it, and each begins its own sums."""
