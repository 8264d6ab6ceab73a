"""The memory that a fit takes, and the folder for its bins where the profile gives it less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conf.profile import Profile
from estimators.crossfit import Task
from estimators.errors import PlatformError
from estimators.units import Units
from jobs.scratch import scratch
from jobs.shards import workers_of

_BASE = 50_000_000
"""Bytes: histograms, batches on their way."""
_SKETCH = 2_000_000
"""Bytes a column while its quantiles are sought."""
_STATE = 64
"""Bytes a row: gradients, the target, the node that the row is in, its prediction."""
_COPIED = 3.5
"""Bytes a value of learners that copy their rows."""
_A_BYTE = 256
"""Bins that one holds."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a fit is given.

    Attributes
    ----------
    memory
        Bytes that it takes, declared to the scheduler.
    on_disk
        Whether the bins of trees stay on disk.
    """

    memory: int
    on_disk: bool


def room_of(units: Units, tasks: Sequence[Task], profile: Profile) -> Room:
    """Bins in memory where the profile's budget a fit (``ray.memory_per_task``) holds them.

    Raises
    ------
    PlatformError
        ``out_of_memory``: a fit takes more than the budget, whatever is on disk.
    """
    values, budget = units.design.values, profile.ray.memory_per_task
    parts = min((workers_of(task) for task in tasks), default=1)
    trees = values.dtype == np.float32  # only trees see them
    least = _BASE + _SKETCH * values.shape[1]
    least += units.n * _STATE // parts if trees else int(values.size * _COPIED)
    need = least + _bins(units, tasks) // parts if trees else least
    if budget is None or need <= budget:
        return Room(need, on_disk=False)
    if trees and least <= budget and profile.device == "cpu":
        return Room(least, on_disk=True)
    raise PlatformError(
        f"a fit of {units.n:,} rows takes {least / 1e9:.1f} GB, and the profile gives it"
        f" {budget / 1e9:.1f} GB",
        code="out_of_memory",
        remedy="raise `ray.memory_per_task` of the profile on a machine that has it, or train on"
        " fewer rows (`max_train_rows` of the learner)",
    )


def _bins(units: Units, tasks: Sequence[Task]) -> int:
    """Bytes of the bins of all rows, by row and by column: wider where a value is missing."""
    values = units.design.values
    specs = [each.spec for task in tasks for each in task.work.targets]
    widest = max((spec.get("max_bin", _A_BYTE) for spec in specs), default=_A_BYTE)
    size = 1 if widest <= _A_BYTE else 2
    dense = values.size == 0 or not np.isnan(values.min())
    return int(values.size * ((size if dense else 4) + size))


@contextmanager
def bins_folder(home: Path, *, on_disk: bool) -> Iterator[str | None]:
    """A folder under the home for the bins of one fit, deleted afterwards; None if they need none.

    It is made where the fit runs, which may be another machine.
    """
    if not on_disk:
        yield None
        return
    with scratch(home, "bins") as folder:
        yield str(folder)
