"""What Spark raises, in the terms of our errors; the texts are Spark's and Delta's own."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from estimators.errors import CausewayError, ContractError, PlatformError, Where
from jobs.lake import Pin
from jobs.spark.faults import spark_faults

WHERE = Where(table="units", window="2024-03")
PINS = [
    Pin(name, f"/lake of ours/{name}", "id", 3, datetime(2024, 4, 1, tzinfo=UTC))
    for name in ("orders", "orders_2")
]
FILE = "file:/lake%20of%20ours/orders_2/part-0.parquet"
TEXTS = {
    "Java heap": ("java.lang.OutOfMemoryError: Java heap space", "out_of_memory", "units"),
    "execution memory": ("[UNABLE_TO_ACQUIRE_MEMORY] Unable to acquire", "out_of_memory", "units"),
    "two writers": (
        "io.delta.exceptions.ConcurrentAppendException: [DELTA_CONCURRENT_APPEND.WITHOUT_HINT]",
        "commit_contention",
        "units",
    ),
    "a killed driver": ("Answer from Java side is empty", "spark_lost", "units"),
    "a stopped context": (
        "Cannot call methods on a stopped SparkContext.",
        "spark_lost",
        "units",
    ),
    "a file that is gone": (
        f"[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file {FILE}.",
        "version_gone",
        "orders_2",
    ),
    "a file that is broken": (
        f"[FAILED_READ_FILE.NO_HINT] Encountered error while reading file {FILE}.",
        "unreadable_file",
        "orders_2",
    ),
    "a log that was cleaned": (
        "[DELTA_TRUNCATED_TRANSACTION_LOG] /elsewhere/_delta_log",
        "version_gone",
        "units",
    ),
    "a cast": ("[CAST_INVALID_INPUT] The value 'x' of the type", "sql_failed", "units"),
}


@pytest.mark.parametrize(("text", "code", "table"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_of_sparks_becomes_an_error_with_a_place(text: str, code: str, table: str) -> None:
    with pytest.raises(CausewayError) as caught, spark_faults(WHERE, PINS):
        raise RuntimeError(text)
    error = caught.value
    assert (error.code, error.where.table) == (code, table)
    assert error.retryable == (code in ("commit_contention", "spark_lost"))
    assert error.remedy


def test_the_rest_passes_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), spark_faults(WHERE):
        raise ZeroDivisionError
    with pytest.raises(ContractError, match="mine"), spark_faults(WHERE):
        raise ContractError("mine: OutOfMemoryError", remedy="none")


def test_a_client_that_sees_no_plans_is_refused_before_it_runs_anything() -> None:
    unit_sql = pytest.importorskip("jobs.spark.unit_sql")
    client = object()  # Connect's sessions have no `_jsparkSession`
    with pytest.raises(PlatformError, match="Spark Connect") as caught:
        unit_sql.guarded(client, "SELECT 1", [], None)
    assert caught.value.code == "connect_unguarded"


def test_whatever_is_raised_where_the_machine_is_gone_is_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed in the middle of a look-up, Py4J says that a class does not exist there."""
    pyspark = pytest.importorskip("pyspark")
    for seconds, code in ((60, None), (0.2, "spark_lost")):
        process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
        gateway = SimpleNamespace(proc=process)
        monkeypatch.setattr(pyspark.SparkContext, "_gateway", gateway)
        with pytest.raises(Exception, match=r"gone|does not exist") as caught, spark_faults(WHERE):
            raise RuntimeError("isInstanceOf does not exist in the JVM")
        assert getattr(caught.value, "code", None) == code
        process.kill()
        process.wait()
