"""One BLAS thread, and the symmetric product that every sum is built on.

Two threads split a product differently from one and change its last bits, so every block is
computed by one thread; workers are processes or Python threads, never BLAS threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Doubles = NDArray[np.float64]

_guard = threading.Lock()
_inside = 0
_limiter: Any = None
_libraries = ThreadpoolController()  # NumPy's BLAS is loaded above; looking again costs 4 ms


@contextmanager
def one_thread() -> Iterator[None]:
    """Pin BLAS to one thread while any block is open; the last one out gives the threads back.

    The limit belongs to the process, so nested and concurrent blocks are counted: a thread that
    left early would otherwise free the threads under another.
    """
    global _inside, _limiter  # noqa: PLW0603  the BLAS limit is the process's own state
    with _guard:
        if _inside == 0:
            _limiter = _libraries.limit(limits=1, user_api="blas")
            _limiter.__enter__()
        _inside += 1
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            if _inside == 0:
                _limiter.__exit__(None, None, None)


def add_product(total: Doubles, block: Doubles, scratch: Doubles) -> None:
    """Add ``block @ block.T`` to `total`; `block` is ``(q, rows)``, C-ordered.

    NumPy sees one array and its transpose and calls ``dsyrk`` (half the work), without the GIL.
    """
    np.matmul(block, block.T, out=scratch)
    np.add(total, scratch, out=total)


def packed_size(q: int) -> int:
    """Length of the packed upper triangle of a ``(q, q)`` matrix."""
    return q * (q + 1) // 2


def pack(square: Doubles) -> Doubles:
    """Upper triangle of a symmetric matrix, row by row."""
    return np.ascontiguousarray(square[np.triu_indices(len(square))])


def unpack(packed: Doubles, q: int) -> Doubles:
    """Symmetric ``(q, q)`` matrix of a packed upper triangle."""
    square = np.zeros((q, q))
    upper = np.triu_indices(q)
    square[upper] = packed
    square.T[upper] = packed
    return square
