"""A task of the Gram engine as a Spark job of one partition, in a Python worker of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from estimators.errors import PlatformError, RetryableError, Where

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIES = 4
"""Of a task whose Python worker is lost: as many as Spark gives a task on a cluster."""
_WORKER_LOST = ("Python worker exited unexpectedly", "Python worker failed to connect back")


@contextmanager
def given_to_executors(session: SparkSession, work: Any, shared: Any) -> Iterator[Any]:
    """``(work, shared)``, sent to each executor once, for as long as tasks need it."""
    from jobs.spark.faults import spark_faults

    with spark_faults(Where()):
        given = session.sparkContext.broadcast((work, shared))
    try:
        yield given
    finally:
        with suppress(Exception):  # a Spark that is gone holds nothing
            given.destroy()


def run(session: SparkSession, given: Any, task: Any) -> Any:
    """The result of ``work(shared, task)``.

    Parameters
    ----------
    given
        What `given_to_executors` gave.

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

    for _ in range(TRIES):
        try:
            with spark_faults(Where()):
                one = session.sparkContext.parallelize([task], 1)
                ((found, fault),) = one.map(_computing(given)).collect()
        except Exception as error:
            text = str(error)
            if "ModuleNotFoundError" in text:
                raise _not_installed(text) from error
            if not any(each in text for each in _WORKER_LOST):
                raise
            lost = error
        else:
            if fault is not None:
                raise fault
            return found
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


def _computing(given: Any) -> Callable[[Any], tuple[Any, Exception | None]]:
    """What an executor does: the result, or its error, of which Spark would leave a text."""

    def gram_task(task: Any) -> tuple[Any, Exception | None]:
        work, shared = given.value
        try:
            return work(shared, task), None
        except Exception as error:
            return None, error

    return gram_task
