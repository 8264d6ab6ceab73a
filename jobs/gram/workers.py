"""A function over many tasks, here, on Ray or in Spark: results in order, few tasks at a time.

Which worker computes what, and how many there are, shows in no result: a task's arithmetic runs
on one BLAS thread, and results are taken in order.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from conf.profile import Profile
from jobs.device import check_gpus
from jobs.engines import ray_cluster, spark_session
from jobs.fits import lost_work
from jobs.gram import on_spark
from jobs.gram.products import Opener, opener

T = TypeVar("T")
Shared = Any
_AHEAD = 2
"""Tasks waiting for each worker."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is done to every task.

    Attributes
    ----------
    work
        Of what all tasks share, and a task.
    memory
        Bytes that one task may take.
    on_device
        Tasks open the workers' `products`.
    """

    work: Callable[[Shared, Any], Any]
    shared: Shared
    memory: int
    on_device: bool


@dataclass(frozen=True, slots=True)
class Started:
    """A job that takes tasks: how one is handed in, and how its result is had from the ticket."""

    submit: Callable[[Any], Any]
    result: Callable[[Any], Any]


class Workers(ABC):
    """Where tasks run.

    Attributes
    ----------
    count
        Tasks that run at a time.
    device
        Kind of device that products are made on.
    products
        How a task opens it.
    """

    def __init__(self, count: int, device: str, products: Opener) -> None:
        self.count, self.device, self.products = count, device, products

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
        if not tasks:
            return
        with self.started(Job(work, shared, memory, on_device)) as job:
            waiting: deque[Any] = deque()
            for task in tasks:
                waiting.append(job.submit(task))
                if len(waiting) >= self.count * _AHEAD:
                    yield job.result(waiting.popleft())
            while waiting:
                yield job.result(waiting.popleft())

    @abstractmethod
    def started(self, job: Job) -> AbstractContextManager[Started]:
        """Take a job in, for as long as its results are wanted."""


@contextmanager
def workers(profile: Profile, rows: int, products: Opener | None = None) -> Iterator[Workers]:
    """Workers for so many rows x repetitions: threads here, or what the profile's `grams` says.

    Parameters
    ----------
    products
        Where products are made; left out, on the profile's device.
    """
    products = products or opener(profile.device)
    if rows < profile.ray.inline_below:
        yield _Inline(profile.ray.num_cpus or os.cpu_count() or 1, profile.device, products)
    elif profile.grams == "spark":
        with spark_session(profile, "grams") as session:
            yield _InSpark(session, products)
    else:
        with ray_cluster(profile):
            if profile.device == "cuda":
                check_gpus(profile)
            yield _OnRay(profile, products)


class _Inline(Workers):
    @contextmanager
    def started(self, job: Job) -> Iterator[Started]:
        with ThreadPoolExecutor(self.count) as pool:
            yield Started(
                lambda task: pool.submit(job.work, job.shared, task), lambda future: future.result()
            )


class _OnRay(Workers):
    def __init__(self, profile: Profile, products: Opener) -> None:
        import ray

        super().__init__(int(ray.cluster_resources().get("CPU", 1)), profile.device, products)
        self.share = profile.ray.gpus_per_task

    @contextmanager
    def started(self, job: Job) -> Iterator[Started]:
        import ray

        def gram_task(shared: Shared, task: Any) -> Any:  # Ray shows it by this name
            return job.work(shared, task)

        # Ray ends a worker after one task with a GPU if not told: each would open the device anew.
        remote = ray.remote(
            num_cpus=1,
            num_gpus=self.share if job.on_device and self.device == "cuda" else 0,
            memory=job.memory,
            max_retries=3,
            max_calls=0,
        )(gram_task)
        shared = ray.put(job.shared)
        with lost_work(job.memory):
            yield Started(lambda task: remote.remote(shared, task), ray.get)


class _InSpark(Workers):
    def __init__(self, session: Any, products: Opener) -> None:
        super().__init__(session.sparkContext.defaultParallelism, "cpu", products)
        self.session = session

    @contextmanager
    def started(self, job: Job) -> Iterator[Started]:
        with (
            on_spark.given_to_executors(self.session, job.work, job.shared) as given,
            ThreadPoolExecutor(self.count) as pool,
        ):
            try:
                yield Started(
                    lambda task: pool.submit(on_spark.run, self.session, given, task),
                    lambda future: future.result(),
                )
            finally:
                pool.shutdown(cancel_futures=True)
