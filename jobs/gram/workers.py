"""A function over many tasks, here or on Ray: results in the tasks' order, few of them at a time.

Which worker computes what, and how many there are, shows in no result: a task's arithmetic runs
on one BLAS thread, and results are taken in order.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from conf.profile import Profile
from jobs.engines import ray_cluster
from jobs.fits import lost_work

T = TypeVar("T")
Shared = Any
_AHEAD = 2
"""Tasks waiting for each worker."""


class Workers(Protocol):
    """Where tasks run."""

    def each(
        self, work: Callable[[Shared, T], Any], shared: Shared, tasks: Sequence[T], memory: int
    ) -> Iterator[Any]:
        """``work(shared, task)`` of each task, in order.

        Parameters
        ----------
        memory
            Bytes that one task may take.
        """


@contextmanager
def workers(profile: Profile, rows: int) -> Iterator[Workers]:
    """Workers for so many rows x repetitions: threads here, or Ray tasks."""
    if rows < profile.ray.inline_below:
        count = profile.ray.num_cpus or os.cpu_count() or 1
        with ThreadPoolExecutor(count) as pool:
            yield _Inline(pool, count)
        return
    with ray_cluster(profile):
        yield _OnRay(profile)


class _Inline:
    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self.pool, self.count = pool, count

    def each(
        self, work: Callable[[Shared, T], Any], shared: Shared, tasks: Sequence[T], memory: int
    ) -> Iterator[Any]:
        start = lambda task: self.pool.submit(work, shared, task)  # noqa: E731
        for future in _in_order(start, tasks, self.count * _AHEAD):
            yield future.result()


class _OnRay:
    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def each(
        self, work: Callable[[Shared, T], Any], shared: Shared, tasks: Sequence[T], memory: int
    ) -> Iterator[Any]:
        import ray

        def gram_task(given: Shared, task: T) -> Any:  # Ray shows it by this name
            return work(given, task)

        remote = ray.remote(num_cpus=1, memory=memory, max_retries=3)(gram_task)
        given = ray.put(shared)
        count = int(ray.cluster_resources().get("CPU", 1))
        with lost_work(memory):
            start = lambda task: remote.remote(given, task)  # noqa: E731
            for reference in _in_order(start, tasks, count * _AHEAD):
                yield ray.get(reference)


def _in_order(start: Callable[[T], Any], tasks: Sequence[T], most: int) -> Iterator[Any]:
    """Started tasks in order, at most so many ahead of the one that is waited for."""
    waiting: deque[Any] = deque()
    for task in tasks:
        waiting.append(start(task))
        if len(waiting) >= most:
            yield waiting.popleft()
    yield from waiting
