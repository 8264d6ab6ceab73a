"""Memory of this process: what is free given back to the system, and the most it ever had."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

import pyarrow as pa

_STATUS = Path("/proc/self/status")


def give_back() -> None:
    """Return freed memory to the system: Arrow's pool, and glibc's heaps.

    Each thread has a heap of its own in glibc, and what is free in the middle of one stays with
    the process until it is trimmed: after 60 small windows that was 190 of 760 MB. It takes some
    milliseconds. Other C libraries have nothing to trim.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak() -> int:
    """Largest resident memory of this process since it began, in bytes.

    On Linux it is not ``ru_maxrss``, which a child takes over from the process that started it: a
    small child of a large parent would be as large as its parent.
    """
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return 1024 * int(next(each for each in lines if each.startswith("VmHWM:")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
