"""A task of the Gram engine as a Spark job of one partition, in a Python worker of an executor.

By ``mapInArrow``, which a driver in this process and a Connect address both have.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from estimators.errors import PlatformError, RetryableError, Where

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIES = 4
"""Of a task whose Python worker is lost: as many as Spark gives a task on a cluster."""
_CONNECT_WIDTH = 8
_WORKER_LOST = ("Python worker exited unexpectedly", "Python worker failed to connect back")


def width(session: SparkSession) -> int:
    """Tasks that Spark runs at a time: its ``spark.default.parallelism``.

    Of a Connect address that is only known where the profile's ``spark.settings`` say it.
    """
    context = getattr(session, "_sc", None)  # a Connect session raises at `sparkContext`
    if context is not None:
        return int(context.defaultParallelism)
    return int(session.conf.get("spark.default.parallelism", str(_CONNECT_WIDTH)) or 1)


def packed(what: Any) -> bytes:
    """As a worker unpacks it; functions go by name."""
    return pickle.dumps(what, protocol=pickle.HIGHEST_PROTOCOL)


def run(session: SparkSession, given: bytes, task: Any) -> Any:
    """The result of ``work(shared, task)``; `given` is ``(work, shared)`` as `packed` gives it.

    Raises
    ------
    PlatformError
        ``spark_workers``: the executors' Python has no Causeway.
    RetryableError
        ``spark_lost``: Spark is gone, or the task's worker was lost every time.
    CausewayError
        What the task raised.
    """
    from jobs.spark.faults import spark_faults

    compute = _computing(given, packed(task))
    for _ in range(TRIES):
        try:
            with spark_faults(Where()):
                one = session.range(0, 1, 1, numPartitions=1)
                (row,) = one.mapInArrow(compute, "found binary").collect()
        except Exception as error:
            text = str(error)
            if "ModuleNotFoundError" in text:
                raise _not_installed(text) from error
            if not any(each in text for each in _WORKER_LOST):
                raise
            lost = error
        else:
            return _unpacked(bytes(row.found))
    raise RetryableError(
        f"a Python worker of Spark was lost {TRIES} times in one task: killed, or out of memory",
        code="spark_lost",
        remedy="run again; if it happens again give the workers more memory, or fewer cores"
        " (`spark.master` of the profile)",
    ) from lost


def _not_installed(text: str) -> PlatformError:
    line = next(each for each in text.splitlines() if "ModuleNotFoundError" in each)
    return PlatformError(
        f"Spark's executors do not have what this process has: {line.strip()}",
        code="spark_workers",
        remedy="install causeway, in this version, into the Python that `spark.pyspark.python` of"
        " the profile's `spark.settings` names, or set `grams: ray`",
    )


def _computing(given: bytes, task: bytes) -> Callable[[Iterable[Any]], Iterator[pa.RecordBatch]]:
    def gram_task(batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"found": [computed(given, task)]})

    return gram_task


def computed(given: bytes, task: bytes) -> bytes:
    """In the worker: the packed result, or its error, of which Spark would leave a text."""
    try:
        work, shared = pickle.loads(given)  # noqa: S301  this process's own driver packed it
        return packed((work(shared, pickle.loads(task)), None))  # noqa: S301
    except Exception as error:
        return packed((None, error))


def _unpacked(found: bytes) -> Any:
    result, error = pickle.loads(found)  # noqa: S301  from a worker that this driver started
    if error is not None:
        raise error
    return result
