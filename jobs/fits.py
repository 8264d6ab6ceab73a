"""Where fits run: here, or as Ray tasks. Both give the same predictions, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conf.profile import Profile
from estimators.crossfit import Task, fit
from estimators.errors import PlatformError, RetryableError
from estimators.units import Units
from jobs.device import check_gpus
from jobs.engines import ray_cluster
from jobs.room import bins_folder, room_of
from jobs.shards import cut, fit_together, require_workers, workers_of

Result = tuple[Task, NDArray[np.float64]]


def fits(
    units: Units,
    tasks: Sequence[Task],
    salt: str,
    profile: Profile,
    fitted: Callable[[Task], None],
) -> Iterator[list[Result]]:
    """Fit all tasks; yields the results of one repetition at a time, in the tasks' order.

    Small studies (``ray.inline_below`` rows x repetitions) are fitted here: starting Ray would
    cost more than the fits.
    """
    bare = units.for_fitting()
    small = units.n * units.fold.shape[1] < profile.ray.inline_below
    if small and all(workers_of(task) == 1 for task in tasks):
        yield from _inline(bare, tasks, salt, profile, fitted)
        return
    with ray_cluster(profile):
        yield from _on_ray(bare, tasks, salt, profile, fitted)


def workers(profile: Profile) -> int:
    """How many fits run at a time."""
    return max(1, (profile.ray.num_cpus or os.cpu_count() or 1) // profile.ray.cpus_per_task)


def _inline(
    units: Units,
    tasks: Sequence[Task],
    salt: str,
    profile: Profile,
    fitted: Callable[[Task], None],
) -> Iterator[list[Result]]:
    """A thread a task, each fit on one: fits release the interpreter, and none waits for another.

    (Two OpenMP threads in a small fit spin at every barrier: on a busy machine that cost 14 x.)
    """
    room = room_of(units, tasks, profile)

    def one(task: Task) -> Result:
        with bins_folder(profile.home, on_disk=room.on_disk) as folder:
            return task, fit(units, task, salt, device=profile.device, scratch=folder)

    workers = profile.ray.num_cpus or os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for batch in _by_repetition(tasks):
            results = []
            for result in pool.map(one, batch):
                results.append(result)
                fitted(result[0])
            yield results


def _on_ray(
    units: Units,
    tasks: Sequence[Task],
    salt: str,
    profile: Profile,
    fitted: Callable[[Task], None],
) -> Iterator[list[Result]]:
    """One Ray task a task; arrays go into the object store once and are read in place.

    Fits that several workers share come last, one after the other: two at a time could each wait
    for the workers of the other.
    """
    import ray

    if profile.device == "cuda":
        check_gpus(profile)
    threads = profile.ray.cpus_per_task
    room = room_of(units, tasks, profile)
    counts = sorted({workers_of(task) for task in tasks})

    def fit_task(shared: Units, task: Task) -> Any:  # Ray shows it by this name
        with bins_folder(profile.home, on_disk=room.on_disk) as folder:
            return fit(shared, task, salt, threads=threads, device=profile.device, scratch=folder)

    def remote(function: Callable[..., Any], retries: int = 0) -> Any:
        return ray.remote(
            num_cpus=threads,
            num_gpus=profile.ray.gpus_per_task if profile.device == "cuda" else 0,
            memory=room.memory,
            max_retries=retries,
        )(function)

    remote_fit = remote(fit_task, retries=3)
    shared = {count: [ray.put(each) for each in cut(units, count)] for count in counts}
    require_workers(max(counts, default=1), threads)
    for batch in _by_repetition(tasks):
        pending = {
            remote_fit.remote(*shared[1], task): task for task in batch if workers_of(task) == 1
        }
        with lost_work(room.memory):
            waiting = list(pending)
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                fitted(pending[done[0]])
            found = {task: ray.get(ref) for ref, task in pending.items()}
            for task in batch:
                if task not in found:
                    found[task] = fit_together(shared[workers_of(task)], task, fit_task, remote)
                    fitted(task)
        yield [(task, found[task]) for task in batch]


@contextmanager
def lost_work(memory: int) -> Iterator[None]:
    """Raise a task's own error as it was, and what Ray says of its workers as an error of ours."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.OutOfMemoryError as error:
        raise PlatformError(
            f"a fit needs more memory than a worker has: {memory / 1e9:.1f} GB were declared",
            code="out_of_memory",
            remedy="fewer cpus in `ray:` of the profile, or a machine with more memory",
        ) from error
    except ray.exceptions.RayError as error:
        raise RetryableError(
            f"Ray lost the work: {error}", code="ray_lost", remedy="run again"
        ) from error


def _by_repetition(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    for rep in sorted({task.rep for task in tasks}):
        yield [task for task in tasks if task.rep == rep]
