"""Attacks on the guard of the unit SQL: each must be refused, and nothing of it may have run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from estimators.errors import Fault, StudyError, Where

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.engines

BOUNDS = {
    "window_start": datetime(2024, 3, 1, tzinfo=UTC),
    "window_end": datetime(2024, 4, 1, tzinfo=UTC),
}

ALLOWED = [
    """SELECT f.id, date_trunc('HOUR', f.at) AS hour, CAST(w.rain > 0 AS INT) AS wet, f.x
       FROM flights f LEFT JOIN weather w ON w.origin = f.origin AND w.at = f.at
       WHERE f.at >= :window_start AND f.at < :window_end""",
    """WITH busy AS (SELECT origin, count(*) AS n, max(x) AS top, avg(n) AS mean FROM flights
                     GROUP BY origin HAVING count(*) > 0)
       SELECT f.*, busy.mean FROM flights f JOIN busy USING (origin)
       WHERE EXISTS (SELECT 1 FROM weather w WHERE w.origin = f.origin)""",
    "SELECT id, rank() OVER (PARTITION BY origin ORDER BY at) AS r FROM flights",
    "SELECT id, first(x) OVER (PARTITION BY origin ORDER BY at) AS x1 FROM flights",
    "SELECT sum(CAST(x AS DECIMAL(38, 9))) AS s, bool_or(x > 1) AS b FROM flights",
    "SELECT id, TIMESTAMP '2013-01-01' AS t, CAST('2013-01-02' AS DATE) AS d FROM flights",
    "SELECT id, transform(array(1, 2), y -> y + 1)[0] AS t, to_date('2013-01-02') FROM flights",
    "SELECT /*+ BROADCAST(w) */ f.id FROM flights f JOIN weather w ON f.origin = w.origin",
    "SELECT id FROM flights ORDER BY id LIMIT 3",
    "SELECT id FROM flights UNION ALL SELECT id FROM flights",
    "SELECT origin, count(DISTINCT id) FROM flights GROUP BY ROLLUP (origin)",
    "SELECT 'rand() now() csv.`/etc/passwd`' AS text FROM flights -- rand()",
]

REFUSED = [
    # foreign code
    ("SELECT java_method('java.lang.System', 'exit', 0)", "runs code"),
    ("SELECT reflect('java.lang.System', 'getenv', 'HOME') FROM flights", "runs code"),
    ("SELECT try_reflect('java.lang.System', 'getenv', 'HOME')", "runs code"),
    ("SELECT system.builtin.java_method('java.lang.System', 'exit', 0)", "runs code"),
    ("SELECT `JAVA_METHOD`('java.lang.System', 'exit', 0)", "runs code"),
    ("SELECT (SELECT max(java_method('java.lang.System', 'exit', 0)) FROM weather)", "runs code"),
    ("SELECT x FROM flights LIMIT reflect('java.lang.Integer', 'valueOf', '3')", "runs code"),
    ("VALUES (java_method('java.lang.System', 'exit', 0))", "runs code"),
    ("SELECT identifier('java_method')('java.lang.System', 'exit', 0)", "IDENTIFIER"),
    ("SELECT TRANSFORM (x) USING 'cat' FROM flights", "SCRIPT TRANSFORMATION"),
    # files and other tables
    ("SELECT * FROM csv.`/etc/passwd`", "the table csv"),
    ("TABLE text.`/etc/passwd`", "the table text"),
    ("SELECT * FROM delta.`{secret}`", "the table delta"),
    ("SELECT * FROM parquet.`{secret}` UNION SELECT 1", "the table parquet"),
    ("SELECT * FROM flights WHERE id IN (SELECT 1 FROM delta.`{secret}`)", "the table delta"),
    ("SELECT * FROM flights WHERE EXISTS (SELECT 1 FROM json.`/etc/passwd`)", "the table json"),
    ("WITH a AS (SELECT * FROM delta.`{secret}`) SELECT * FROM a", "the table delta"),
    ("WITH a AS (WITH b AS (TABLE delta.`{secret}`) SELECT * FROM b) SELECT 1 FROM a", "delta"),
    ("SELECT (SELECT max(x) FROM delta.`{secret}`) FROM flights", "the table delta"),
    ("SELECT * FROM flights f, LATERAL (SELECT * FROM csv.`/etc/passwd`)", "the table csv"),
    ("SELECT * FROM identifier('csv.`/etc/passwd`')", "the table csv"),
    ("SELECT * FROM flights VERSION AS OF 0", "RELATION TIME TRAVEL"),
    ("SELECT * FROM flightz", "the table flightz"),
    ("SELECT * FROM default.flights", "the table default.flights"),
    ("SELECT * FROM range(3)", "TABLE VALUED FUNCTION"),
    ("SELECT * FROM read_files('/etc/passwd')", "TABLE VALUED FUNCTION"),
    # commands
    ("INSERT INTO flights SELECT * FROM flights", "INSERT INTO"),
    ("CREATE TABLE t AS SELECT 1", "CREATE TABLE"),
    ("CREATE OR REPLACE TEMP VIEW flights AS SELECT 1", "CREATE VIEW"),
    ("DROP VIEW flights", "DROP"),
    ("SET spark.sql.ansi.enabled=false", "SET COMMAND"),
    ("EXPLAIN SELECT 1", "EXPLAIN"),
    ("SHOW TABLES", "SHOW TABLES"),
    ("EXECUTE IMMEDIATE 'SELECT 1'", "EXECUTE IMMEDIATE"),
    ("BEGIN SELECT 1; END", "COMPOUND BODY"),
    ("SELECT 1; SELECT 2", "Syntax error"),
    # chance, clocks, layout
    ("SELECT rand() FROM flights", r"rand\(\)"),
    ("SELECT randn(1), uuid(), shuffle(array(1)) FROM flights", r"uuid\(\)"),
    ("SELECT id FROM flights WHERE rand() < 0.5", r"rand\(\)"),
    ("SELECT array_sort(array(1, 2), (a, b) -> CAST(rand() AS INT)) FROM flights", r"rand\(\)"),
    ("SELECT (SELECT rand()) AS r FROM flights", r"rand\(\)"),
    ("SELECT id FROM flights TABLESAMPLE (10 PERCENT)", "SAMPLE"),
    ("SELECT id FROM flights TABLESAMPLE (3 ROWS)", "LIMIT without ORDER BY"),
    ("SELECT id FROM flights LIMIT 3", "LIMIT without ORDER BY"),
    ("SELECT id FROM (SELECT * FROM flights LIMIT 3)", "LIMIT without ORDER BY"),
    ("SELECT current_timestamp() FROM flights", "reads the clock"),
    ("SELECT current_date FROM flights", "reads the clock"),
    ("SELECT unix_timestamp() FROM flights", "reads the clock"),
    ("SELECT TIMESTAMP 'now' FROM flights", "reads the clock"),
    ("SELECT DATE ' Today ' FROM flights", "reads the clock"),
    ("SELECT CAST('now' AS TIMESTAMP) FROM flights", "reads the clock"),
    ("SELECT CAST(concat('n', 'ow') AS TIMESTAMP) FROM flights", "reads the clock"),
    ("SELECT to_date('today') FROM flights", "reads the clock"),
    ("SELECT id FROM flights WHERE at > 'yesterday'", "reads the clock"),
    ("SELECT input_file_name() FROM flights", "files and partitions lie"),
    ("SELECT monotonically_increasing_id() FROM flights", "files and partitions lie"),
    ("SELECT current_user() FROM flights", "who runs the study"),
    ("SELECT version() FROM flights", "who runs the study"),
    # aggregates that depend on the order of rows
    ("SELECT sum(x) FROM flights", "of doubles"),
    ("SELECT avg(x + n) FROM flights", "of doubles"),
    ("SELECT try_sum(x) FROM flights", "of doubles"),
    ("SELECT id, sum(x) OVER (PARTITION BY origin) FROM flights", "of doubles"),
    ("SELECT id FROM flights WHERE x > (SELECT avg(x) FROM flights)", "of doubles"),
    ("SELECT stddev(n) FROM flights", "order of the rows"),
    ("SELECT collect_list(id) FROM flights", "order of the rows"),
    ("SELECT first(x) FROM flights", "order of the rows"),
    ("SELECT max_by(origin, x) FROM flights", "order of the rows"),
    ("SELECT percentile_approx(n, 0.5) FROM flights", "order of the rows"),
    # what is simply wrong
    ("SELECT nothing FROM flights", "cannot be resolved"),
    ("SELEC 1", "Syntax error"),
]


@pytest.fixture(scope="module")
def session(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SparkSession:
    from jobs.engines import own_session

    own = own_session(spark)
    flights = own.createDataFrame(
        [(1, BOUNDS["window_start"], "JFK", 1.25, 2)],
        "id bigint, at timestamp, origin string, x double, n int",
    )
    flights.createTempView("flights")
    rain = [(BOUNDS["window_start"], "JFK", 0.1)]
    own.createDataFrame(rain, "at timestamp, origin string, rain double").createTempView("weather")
    return own


@pytest.fixture(scope="module")
def secret(session: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Delta table that no source names: it could be read, if the guard let it."""
    path = tmp_path_factory.mktemp("secret")
    session.createDataFrame([(1, 2.0)], "id int, x double").write.format("delta").mode(
        "overwrite"
    ).save(str(path))
    return path


def report(found: str, allowed: str, close: str | None = None) -> Fault:
    return Fault(Where(file="study.yaml", line=7), found, allowed, close)


@pytest.mark.parametrize("sql", ALLOWED)
def test_honest_sql_runs(session: SparkSession, sql: str) -> None:
    from jobs.spark.unit_sql import guarded

    assert guarded(session, sql, ["flights", "weather"], report, parameters=BOUNDS).collect()


@pytest.mark.parametrize(("sql", "words"), REFUSED)
def test_everything_else_is_refused(
    session: SparkSession, secret: Path, sql: str, words: str
) -> None:
    from jobs.spark.unit_sql import guarded

    with pytest.raises(StudyError, match=words) as caught:
        guarded(session, sql.replace("{secret}", str(secret)), ["flights", "weather"], report)
    assert caught.value.exit_code == 3
    assert all(fault.where.line == 7 for fault in caught.value.faults)


def test_faults_come_together(session: SparkSession) -> None:
    from jobs.spark.unit_sql import guarded

    sql = "SELECT rand(), uuid() FROM flightz JOIN csv.`/etc/passwd`"
    with pytest.raises(StudyError) as caught:
        guarded(session, sql, ["flights"], report)
    found = {fault.found for fault in caught.value.faults}
    assert len(found) == 4
    assert "flights" in {fault.nearest for fault in caught.value.faults}


def test_a_table_of_the_catalogue_is_no_source(session: SparkSession, secret: Path) -> None:
    """The name of a WITH passes the first look; outside its query it would mean the table."""
    from jobs.spark.unit_sql import guarded

    session.sql(f"CREATE TABLE hidden USING delta LOCATION '{secret}'")
    try:
        sql = """SELECT * FROM (WITH hidden AS (SELECT 1 AS id) SELECT * FROM hidden)
                 UNION ALL SELECT id FROM hidden"""
        with pytest.raises(StudyError, match="allowed: one SELECT"):
            guarded(session, sql, ["flights"], report)
    finally:
        session.sql("DROP TABLE hidden")


def test_a_watermark_may_read_the_clock(session: SparkSession) -> None:
    from jobs.spark.unit_sql import guarded

    sql = "SELECT current_timestamp() AS w FROM flights"
    assert guarded(session, sql, ["flights"], report, clocks=True).collect()


def test_bounds_are_bound_not_pasted(session: SparkSession) -> None:
    from jobs.spark.unit_sql import guarded

    sql = "SELECT :window_start AS a, ':window_end' AS b FROM flights"
    (row,) = guarded(session, sql, ["flights"], report, parameters=BOUNDS).toArrow().to_pylist()
    assert row == {"a": BOUNDS["window_start"], "b": ":window_end"}
