"""What Spark raises, in the terms of our errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from estimators.errors import (
    CausewayError,
    ContractError,
    PlatformError,
    RetryableError,
    SourceError,
    Where,
)
from jobs.lake import Pin
from jobs.spark import jvm

_PATIENCE = 1.0
"""Seconds that a killed virtual machine may take to be gone."""
_DISK = ("No space left on device", "Disk quota exceeded")
_MEMORY = ("OutOfMemoryError", "CANNOT_ACQUIRE_MEMORY", "UNABLE_TO_ACQUIRE_MEMORY")
_RACE = ("DELTA_CONCURRENT", "ConcurrentModification", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL")
_LOST = (
    "Answer from Java side is empty",
    "Error while sending or receiving",
    "An error occurred while trying to connect to the Java server",
    "SparkContext was shut down",
    "Cannot call methods on a stopped SparkContext",
)
_GONE = (
    "DELTA_VERSION_NOT_FOUND",
    "DELTA_CANNOT_TIME_TRAVEL",
    "DELTA_UNSUPPORTED_TIME_TRAVEL",
    "DELTA_TIME_TRAVEL",
    "Cannot time travel",
    "DELTA_TRUNCATED_TRANSACTION_LOG",
    "DELTA_LOG_FILE_NOT_FOUND",
    "FAILED_READ_FILE.FILE_NOT_EXIST",
    "FileNotFoundException",
    "DELTA_TABLE_NOT_FOUND",
    "DELTA_PATH_DOES_NOT_EXIST",
)
_BROKEN = ("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER", "is not a Parquet file")
_DATA = re.compile(
    r"\[((?:CAST_|DIVIDE_BY_ZERO|REMAINDER_BY_ZERO|ARITHMETIC_OVERFLOW|BINARY_ARITHMETIC|"
    r"NUMERIC_VALUE_OUT_OF_RANGE|INVALID_ARRAY_INDEX|SCALAR_SUBQUERY_TOO_MANY_ROWS|"
    r"DATETIME_FIELD_OUT_OF_BOUNDS|CANNOT_PARSE_TIMESTAMP|INVALID_TIMESTAMP|USER_RAISED)"
    r"[A-Z_.]*)\]"
)


@contextmanager
def spark_faults(where: Where, pins: Iterable[Pin] = ()) -> Iterator[None]:
    """Turn failures that have a known cause into our errors; the rest passes unchanged.

    Parameters
    ----------
    pins
        Tables that are read: one whose file cannot be is named.

    Raises
    ------
    PlatformError
        The disk or the memory is full.
    RetryableError
        Another commit was faster, or the driver's virtual machine died (``spark_lost``).
    SourceError
        A pinned version, or a file of it, is gone (``version_gone``) or broken
        (``unreadable_file``).
    ContractError
        The study's SQL fails on the data; the message has no value of theirs.
    """
    try:
        yield
    except CausewayError:
        raise
    except Exception as error:
        text = str(error)
        known = (
            _lost(error, where) or _files(text, _source(text, pins) or where) or _known(text, where)
        )
        if known is None and jvm.ended(within=_PATIENCE):  # then Py4J may say anything
            known = _gone_machine(where)
        if known is None:
            raise
        raise known from error


def _lost(error: Exception, where: Where) -> RetryableError | None:
    gone = isinstance(error, ConnectionError) or type(error).__name__ == "Py4JNetworkError"
    if not gone and not any(each in str(error) for each in _LOST):
        return None
    return _gone_machine(where)


def _gone_machine(where: Where) -> RetryableError:
    return RetryableError(
        "Spark's virtual machine is gone: it was killed, or it crashed", code="spark_lost",
        where=where,
        remedy="run again; if it happens again give Spark less memory (`spark.memory`), for the "
        "system may have killed it, and read logs/spark.log of the home",
    )  # fmt: skip


def _source(text: str, pins: Iterable[Pin]) -> Where | None:
    """The table of the file that an error names."""
    shown = unquote(text)
    found = next((each for each in pins if f"{each.path}/" in shown), None)
    return Where(table=found.name, version=found.version) if found else None


def _files(text: str, where: Where) -> SourceError | None:
    if any(each in text for each in _GONE):
        return SourceError(
            "a pinned version or one of its files cannot be read any more", code="version_gone",
            where=where, remedy="pin a newer version, or restore the removed files",
        )  # fmt: skip
    if any(each in text for each in _BROKEN):
        return SourceError(
            "a file of this version is broken", code="unreadable_file", where=where,
            remedy="restore the file, or pin a version without it; Spark's log names it",
        )  # fmt: skip
    return None


def _known(text: str, where: Where) -> CausewayError | None:
    if any(each in text for each in _DISK):
        return PlatformError(
            "the disk is full", code="disk_full", where=where,
            remedy="free some disk under CAUSEWAY_HOME, then run again",
        )  # fmt: skip
    if any(each in text for each in _MEMORY):
        return PlatformError(
            "Spark ran out of memory", code="out_of_memory", where=where,
            remedy="raise `spark.memory` of the profile",
        )  # fmt: skip
    if any(each in text for each in _RACE):
        return RetryableError(
            "another commit to the table was faster", code="commit_contention", where=where,
            remedy="run again",
        )  # fmt: skip
    failed = _DATA.search(text)
    if failed:
        return ContractError(
            f"the study's SQL fails on the data: {failed[1]}", code="sql_failed", where=where,
            remedy="use try_cast, try_divide or nullif, or leave such rows out",
        )  # fmt: skip
    return None
