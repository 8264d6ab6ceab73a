"""Small files of a Delta table become few, one process at a time.

delta-rs lets a merge commit after another merge of the same files, and every row is there twice
(1.6; `infra/decisions/0009-retention-and-erasure.md`). So merges exclude each other here. Against
appends and deletes its own checks hold: an append passes, and of a merge and a delete the later
one fails.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from jobs.failpoints import reach

MANY = 100
"""Small files that a table of the record may have: every commit adds one, every reader pays."""
_MERGED = 8_000_000
"""Bytes of the files that small ones are merged into; a file is small below half of that."""


@contextmanager
def alone(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Be the only one of this machine that merges the files of a table on a local disk.

    Parameters
    ----------
    wait
        For the other one to end; else False is given where there is one.
    """
    with Path(path, "_delta_log", ".merge.lock").open("a") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def merge_small(path: str, table: DeltaTable) -> None:
    """Merge the small files of a table where they are many; of a table in an object store, none.

    Those that were merged stay on the disk, for who is reading them, until `causeway maintain`.

    Parameters
    ----------
    table
        The table at `path` as it was a moment ago.
    """
    if "://" in path or _small(table) <= MANY:
        return
    with alone(path, wait=False) as free:
        if not free:
            return
        newest = DeltaTable(path)  # the one before may have merged them
        if _small(newest) > MANY:
            with suppress(CommitFailedError):  # an erasure was faster; the next commit sees to it
                newest.optimize.compact(target_size=_MERGED, max_concurrent_tasks=1)
            reach("lake.after_merge")


def _small(table: DeltaTable) -> int:
    sizes = pa.table(table.get_add_actions())["size_bytes"].to_numpy()
    return int((sizes < _MERGED // 2).sum())
