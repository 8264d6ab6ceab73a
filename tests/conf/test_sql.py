"""The unit SQL, read statically."""

from __future__ import annotations

import pytest

from conf.refused import REFUSED
from conf.sql import read_expression, read_unit_sql

SOURCES = ("flights", "weather")


def _read(sql, *, windowed=False):
    return read_unit_sql(sql, SOURCES, windowed=windowed)


def _found(sql, *, windowed=False):
    return [(fault.line, fault.found) for fault in _read(sql, windowed=windowed).faults]


def test_columns_in_order_with_lines():
    sql = _read("SELECT f.a, b AS c,\n  CAST(x > 0 AS INT) AS d\nFROM flights f")
    assert not sql.faults
    assert list(sql.columns) == ["a", "c", "d"]
    assert sql.lines == {"a": 1, "c": 1, "d": 2}


@pytest.mark.parametrize(
    "sql",
    [
        "WITH c AS (SELECT * FROM flights) SELECT a FROM c",
        "WITH c AS (SELECT a FROM flights UNION ALL SELECT a FROM weather) SELECT a FROM c;",
        "SELECT a FROM Flights",
        "SELECT a FROM flights WHERE b IN (SELECT b FROM weather)",
        "SELECT count(*) AS n, a FROM flights GROUP BY a",
        "SELECT first(a) OVER (PARTITION BY b ORDER BY c) AS a FROM flights",
        "SELECT last(a) IGNORE NULLS OVER (ORDER BY c) AS a FROM flights",
        "SELECT unix_timestamp(a) AS a FROM flights",
        "SELECT f.now, f.current_date, 'rand()' AS text, `uuid` FROM flights f -- rand()",
        "SELECT a AS current_date FROM flights",
        "SELECT a FROM flights ORDER BY a LIMIT 10",
        "SELECT timestamp '2013-01-01' AS t FROM flights",
        "SELECT z FROM flights LATERAL VIEW explode(xs) t AS z",
        "SELECT a FROM flights /*+ a hint */ WHERE a >= :window_start AND a < :window_end",
    ],
)
def test_what_is_allowed(sql):
    assert _found(sql) == []


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("call", ["{}()", "{}(a)", "`{}`()", "{} (a, 1)"])
def test_every_refused_function_is_found_however_it_is_called(name, call):
    found = _found(f"SELECT a,\n {call.format(name)} AS b FROM flights")  # noqa: S608 - only parsed
    assert (2, f"{name}(): {REFUSED[name]}") in found


def test_refused_in_any_case_and_place():
    assert "rand(): it gives other values each time" in str(
        _found("SELECT a FROM flights JOIN (SELECT a FROM weather WHERE Rand() < 0.5) w ON TRUE")
    )
    assert "current_timestamp:" in str(_found("SELECT a FROM flights WHERE t < CURRENT_TIMESTAMP"))


@pytest.mark.parametrize(
    ("sql", "line", "found"),
    [
        ("SELECT a\nFROM\n flihgts", 3, "the table 'flihgts'"),
        ("SELECT a FROM flights\nJOIN parquet.`/x` ON TRUE", 2, "the table parquet.`/x`"),
        ("SELECT a FROM `/x.csv`", 1, "the table '/x.csv'"),
        ("SELECT a FROM other.flights", 1, "the table other.flights"),
        ("SELECT a FROM range(10)", 1, "RANGE(10) as a table"),
        ("SELECT a FROM read_files('/x')", 1, "read_files(): it reads"),
        ("SELECT a FROM flights VERSION AS OF 3", 1, "time travel of 'flights'"),
        ("WITH flights AS (SELECT 1 AS a) SELECT a FROM flights", 1, "a WITH named like"),
        ("SELECT a FROM flights TABLESAMPLE (10 PERCENT)", 1, "TABLESAMPLE"),
        ("SELECT a FROM flights LIMIT 10", 1, "LIMIT without ORDER BY"),
        ("SELECT TRANSFORM(a) USING 'cat' AS b FROM flights", 1, "TRANSFORM: it runs a program"),
        ("SELECT unix_timestamp() AS a FROM flights", 1, "unix_timestamp() without an argument"),
        ("SELECT TIMESTAMP 'now' AS a FROM flights", 1, "it reads the clock"),
        ("SELECT DATE ' Today ' AS a FROM flights", 1, "it reads the clock"),
        ("SELECT *\nFROM flights", 1, "SELECT *"),
        ("SELECT a,\n f.*\nFROM flights f", 2, "SELECT f.*"),
        ("SELECT a,\n b + 1\nFROM flights", 2, "a column without a name: b + 1"),
        ("SELECT stack(2, a, b) AS (x, y) FROM flights", 1, "a column without a name"),
        ("SELECT a,\n b AS A\nFROM flights", 2, "two columns named 'A'"),
        ("SELECT a FROM flights; SELECT a FROM weather", 1, "2 statements"),
        ("DELETE FROM flights", 1, "a DELETE"),
        ("CREATE TABLE x AS SELECT a FROM flights", 1, "a CREATE"),
        ("INSERT INTO flights SELECT 1 AS a", 1, "a INSERT"),
        ("SELECT a FROM flights UNION SELECT a FROM weather", 1, "a UNION at the top"),
        ("  -- nothing\n", 1, "no statements"),
        ("SELECT a FROM flights\nWHERE (a", 2, "SQL that breaks"),
        ("SELECT 'a FROM flights", 1, "not closed"),
        ("SELECT a FROM flights\nWHERE b = :start", 2, "the parameter :start"),
        ("SELECT a FROM flights WHERE b = ?", 1, "the parameter ?"),
        ("SELECT a FROM flights WHERE b = ${x}", 1, "the parameter"),
    ],
)
def test_what_is_refused_with_its_line(sql, line, found):
    assert any(at == line and found in said for at, said in _found(sql)), _found(sql)


def test_windows_need_both_parameters():
    used = "SELECT a FROM flights WHERE a >= :window_start AND b < :window_end"
    assert _found(used, windowed=True) == []
    ((_, found),) = _found(used.replace(":window_end", "c"), windowed=True)
    assert found.startswith(":window_end not used")
    ((_, found),) = _found("SELECT ':window_start' AS a FROM flights", windowed=True)
    assert found.startswith(":window_start and :window_end not used")


@pytest.mark.parametrize(
    "sql",
    ["coalesce(a, b + INTERVAL 1 DAY)", "a", "CASE WHEN a THEN b END -- why", "greatest(a, b)"],
)
def test_expressions(sql):
    assert read_expression(sql) == ()


@pytest.mark.parametrize(
    "sql",
    ["a b c", "a, b", "a) AS x, (b", "a) AS x FROM t WHERE (b", "", "a; DROP TABLE x", "rand()",
     "(SELECT max(a) FROM flights)", ":window_start", "reflect('x', 'y')", "now()"],
)  # fmt: skip
def test_expressions_that_are_refused(sql):
    assert read_expression(sql)


def test_a_watermark_may_read_the_clock_and_nothing_else_of_the_sort():
    assert read_expression("now() - INTERVAL 1 DAY", clocks=True) == ()
    assert read_expression("rand()", clocks=True)
