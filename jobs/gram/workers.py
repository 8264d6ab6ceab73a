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
from jobs.device import check_gpus
from jobs.engines import ray_cluster
from jobs.fits import lost_work
from jobs.gram.products import Opener, opener

T = TypeVar("T")
Shared = Any
_AHEAD = 2
"""Tasks waiting for each worker."""


class Workers(Protocol):
    """Where tasks run."""

    @property
    def device(self) -> str:
        """Kind of device that products are made on."""

    @property
    def products(self) -> Opener:
        """How a task opens it."""

    def each(
        self,
        work: Callable[[Shared, T], Any],
        shared: Shared,
        tasks: Sequence[T],
        memory: int,
        *,
        on_device: bool = False,
    ) -> Iterator[Any]:
        """``work(shared, task)`` of each task, in order.

        Parameters
        ----------
        memory
            Bytes that one task may take.
        on_device
            The task opens `products`: on a GPU it asks for the profile's share of one.
        """


@contextmanager
def workers(profile: Profile, rows: int, products: Opener | None = None) -> Iterator[Workers]:
    """Workers for so many rows x repetitions: threads here, or Ray tasks.

    Parameters
    ----------
    products
        Where products are made; left out, on the profile's device.
    """
    products = products or opener(profile.device)
    if rows < profile.ray.inline_below:
        count = profile.ray.num_cpus or os.cpu_count() or 1
        with ThreadPoolExecutor(count) as pool:
            yield _Inline(pool, count, profile.device, products)
        return
    with ray_cluster(profile):
        if profile.device == "cuda":
            check_gpus(profile)
        yield _OnRay(profile, products)


class _Inline:
    def __init__(self, pool: ThreadPoolExecutor, count: int, device: str, products: Opener) -> None:
        self.pool, self.count, self.device, self.products = pool, count, device, products

    def each(
        self,
        work: Callable[[Shared, T], Any],
        shared: Shared,
        tasks: Sequence[T],
        memory: int,
        *,
        on_device: bool = False,
    ) -> Iterator[Any]:
        start = lambda task: self.pool.submit(work, shared, task)  # noqa: E731
        for future in _in_order(start, tasks, self.count * _AHEAD):
            yield future.result()


class _OnRay:
    def __init__(self, profile: Profile, products: Opener) -> None:
        self.profile, self.device, self.products = profile, profile.device, products

    def each(
        self,
        work: Callable[[Shared, T], Any],
        shared: Shared,
        tasks: Sequence[T],
        memory: int,
        *,
        on_device: bool = False,
    ) -> Iterator[Any]:
        import ray

        def gram_task(given: Shared, task: T) -> Any:  # Ray shows it by this name
            return work(given, task)

        share = self.profile.ray.gpus_per_task if on_device and self.device == "cuda" else 0
        # Ray ends a worker after one task with a GPU if not told: each would open the device anew.
        remote = ray.remote(num_cpus=1, num_gpus=share, memory=memory, max_retries=3, max_calls=0)(
            gram_task
        )
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
