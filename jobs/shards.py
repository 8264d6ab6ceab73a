"""One fit over several Ray workers: XGBoost's own distributed training, a share of the rows each.

For a fit that no worker holds. Rows are cut once into contiguous shares, which go into the object
store one by one: a worker never sees the others' rows. Quantiles and histograms are merged over the
workers, so cuts and sums are not quite those of a single fit: the number of workers is part of the
learner, so of the key, and tolerance is promised instead of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators.crossfit import Task
from estimators.errors import PlatformError, RetryableError, first_line
from estimators.units import Units

Doubles = NDArray[np.float64]
Remote = Callable[[Callable[..., Any]], Any]


def workers_of(task: Task) -> int:
    """How many workers share the fits of a task (``num_workers`` of its learner)."""
    return int(task.work.targets[0].spec.get("num_workers", 1))


def cut(units: Units, count: int) -> list[Units]:
    """Contiguous shares of about equally many rows, of what fits read."""
    if count == 1:
        return [units]
    bounds = np.linspace(0, units.n, count + 1).astype(np.intp)
    return [_share(units, slice(*ends)) for ends in pairwise(bounds)]


def _share(units: Units, rows: slice) -> Units:
    def of(columns: Mapping[str, Doubles]) -> dict[str, Doubles]:
        return {name: values[rows] for name, values in columns.items()}

    return replace(
        units,
        design=replace(units.design, values=units.design.values[rows]),
        treatments=of(units.treatments),
        outcomes=of(units.outcomes),
        weight=units.weight[rows],
        fold=units.fold[rows],
        place=None,
        unit=None,
    )


def fit_together(
    shares: list[Any], task: Task, one: Callable[[Units, Task], Doubles], remote: Remote
) -> Doubles:
    """Fit a task on all shares at once: the predictions of all held-out rows, as of one fit.

    Parameters
    ----------
    shares
        References to `cut` units in the object store.
    one
        Fits a task on units.
    remote
        Makes a Ray task of a function, with what one worker is given.

    Raises
    ------
    RetryableError
        ``ray_lost``: a worker was lost; the others end with it.
    """
    import ray
    from xgboost.core import XGBoostError
    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(len(shares), ray.util.get_node_ip_address(), sortby="task")
    tracker.start()
    address = tracker.worker_args()
    run = remote(_fit_share)
    running = [
        run.remote(each, task, one, {**address, "dmlc_task_id": f"{place:06d}"})
        for place, each in enumerate(shares)
    ]
    try:
        return np.concatenate(ray.get(running), axis=1)
    except BaseException as error:
        _end(running)
        cause = getattr(error, "cause", None)  # of a task's own error
        if not isinstance(cause, XGBoostError):
            raise
        raise RetryableError(
            f"a worker of a shared fit was lost: {first_line(cause, 200)}",
            code="ray_lost",
            remedy="run again",
        ) from error
    finally:
        with suppress(XGBoostError):  # of a worker that is gone
            tracker.free()


def _end(running: Sequence[Any]) -> None:
    """End tasks that still run: a worker without its peers would wait for them.

    Never one that has ended: Ray 2.60 aborts the driver where a cancellation meets the end of its
    task (a failed check in ``TaskManager::CompletePendingTask``).
    """
    import ray

    _, left = ray.wait(running, num_returns=len(running), timeout=1.0)
    for each in left:
        ray.cancel(each, force=True)


def _fit_share(
    share: Units,
    task: Task,
    one: Callable[[Units, Task], Doubles],
    peers: Mapping[str, int | str],
) -> Doubles:
    """One worker's part: its rows in every histogram, predictions of its held-out rows."""
    from xgboost.collective import CommunicatorContext

    with CommunicatorContext(**peers):
        return one(share, task)


def require_workers(count: int, threads: int) -> None:
    """Raise where Ray could never run so many workers at a time.

    Raises
    ------
    PlatformError
        ``no_workers``.
    """
    import ray

    need, have = threads * count, int(ray.cluster_resources().get("CPU", 0))
    if count > 1 and need > have:
        raise PlatformError(
            f"a fit over {count} workers takes {need} processors, and Ray has {have}",
            code="no_workers",
            remedy="lower `num_workers` of the learner, or join machines to the cluster",
        )
