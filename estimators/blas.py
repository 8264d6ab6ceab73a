"""One BLAS thread where bytes must repeat: a product over many rows rounds by its threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_holders: dict[str, Any] = {"count": 0, "controller": None, "limit": None}


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread; nested and concurrent holders share the limit.

    The limit is the process's: with one of its own for each holder, the first to leave would
    lift it under the others.
    """
    with _lock:
        if _holders["count"] == 0:
            _holders["controller"] = _holders["controller"] or ThreadpoolController()
            _holders["limit"] = _holders["controller"].limit(limits=1, user_api="blas")
        _holders["count"] += 1
    try:
        yield
    finally:
        with _lock:
            _holders["count"] -= 1
            if _holders["count"] == 0:
                _holders["limit"].restore_original_limits()
