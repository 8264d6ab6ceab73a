"""One execution of a study's window at a time on a machine: a second one waits for the first."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_SECONDS_BETWEEN_TRIES = 0.2


@asynccontextmanager
async def only_one(home: Path, name: str, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock `name` of a home; the system frees it when the process dies.

    Commits are idempotent by key, so the lock is not what keeps the record right: it keeps two
    processes from computing the same thing twice.

    Parameters
    ----------
    waiting
        Called once where another process holds the lock.
    """
    path = home / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        said = False
        while not _locked(lock.fileno()):
            if not said:
                waiting()
                said = True
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
