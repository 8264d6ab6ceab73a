"""A condition on rows, confined to comparisons of columns with literals: for erasing them.

Parsed, not passed on: no function, no sub-query and no file can hide in it, and the same condition
filters files with Arrow and commits with Delta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import sqlglot
from sqlglot import exp

from conf.names import listed, nearest
from estimators.errors import UsageError, Where

_RULE = "columns compared with literals (=, <>, <, <=, >, >=, IN), joined by AND, OR and NOT"
_COMPARE: dict[type[exp.Expr], tuple[str, Callable[[Any, Any], Any]]] = {
    exp.EQ: ("=", lambda left, right: left == right),
    exp.NEQ: ("<>", lambda left, right: left != right),
    exp.LT: ("<", lambda left, right: left < right),
    exp.LTE: ("<=", lambda left, right: left <= right),
    exp.GT: (">", lambda left, right: left > right),
    exp.GTE: (">=", lambda left, right: left >= right),
}


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A condition on the rows of one table.

    Attributes
    ----------
    arrow
        For reading files.
    sql
        For Delta's delete and update.
    columns
        The columns that it compares; what may be written down of it.
    """

    arrow: ds.Expression
    sql: str
    columns: tuple[str, ...]


def ids_in(column: str, ids: Iterable[str]) -> RowFilter:
    """Rows whose `column` is one of some texts."""
    values = list(ids)
    literals = ", ".join(_quoted(value) for value in values)
    return RowFilter(ds.field(column).isin(values), f'"{column}" IN ({literals})', (column,))


def parse_filter(text: str, schema: pa.Schema, table: str) -> RowFilter:
    """Read a condition as a user writes it.

    Raises
    ------
    UsageError
        It is not a condition of this kind, names no column of the table, or compares a column
        with what it cannot hold.
    """
    try:
        tree = sqlglot.parse_one(text, dialect="postgres")
    except sqlglot.errors.ParseError as error:
        raise _refused("it is no SQL condition", table) from error
    columns: list[str] = []
    arrow, sql = _read(tree, schema, table, columns)
    if not columns:
        raise _refused("it names no column", table)
    return RowFilter(arrow, sql, tuple(dict.fromkeys(columns)))


def _refused(found: str, table: str, column: str | None = None) -> UsageError:
    """The condition itself is not repeated: it may name a person."""
    return UsageError(
        f"the condition is not one of these: {found}",
        code="bad_condition",
        where=Where(table=table, column=column),
        remedy=f"write {_RULE}",
    )


def _read(
    node: exp.Expr, schema: pa.Schema, table: str, columns: list[str]
) -> tuple[ds.Expression, str]:
    if isinstance(node, exp.Paren):
        return _read(node.this, schema, table, columns)
    if isinstance(node, exp.And | exp.Or):
        left, right = (_read(each, schema, table, columns) for each in (node.left, node.right))
        if isinstance(node, exp.And):
            return left[0] & right[0], f"({left[1]} AND {right[1]})"
        return left[0] | right[0], f"({left[1]} OR {right[1]})"
    if isinstance(node, exp.Not):
        arrow, sql = _read(node.this, schema, table, columns)
        return ~arrow, f"(NOT {sql})"
    if isinstance(node, exp.In) and not node.args.get("query"):
        return _read_in(node, schema, table, columns)
    if isinstance(node, exp.Binary) and type(node) in _COMPARE:
        symbol, compare = _COMPARE[type(node)]
        column = _column(node.left, schema, table, columns)
        value, literal = _value(node.right, schema.field(column), table)
        return compare(ds.field(column), value), f'"{column}" {symbol} {literal}'
    raise _refused(f"it has {type(node).__name__.upper()}", table)


def _read_in(
    node: exp.In, schema: pa.Schema, table: str, columns: list[str]
) -> tuple[ds.Expression, str]:
    column = _column(node.this, schema, table, columns)
    pairs = [_value(each, schema.field(column), table) for each in node.expressions]
    if not pairs:
        raise _refused("an IN without literals", table, column)
    arrow = reduce(lambda left, right: left | right, [ds.field(column) == v for v, _ in pairs])
    return arrow, f'"{column}" IN ({", ".join(literal for _, literal in pairs)})'


def _column(node: exp.Expr, schema: pa.Schema, table: str, columns: list[str]) -> str:
    if not isinstance(node, exp.Column) or node.table:
        raise _refused("a comparison does not begin with a column", table)
    if node.name not in schema.names:
        close = nearest(node.name, schema.names)
        hint = f"; did you mean {close!r}?" if close else ""
        raise UsageError(
            f"no column {node.name!r}{hint}",
            code="no_column",
            where=Where(table=table, column=node.name),
            remedy=f"choose one of {listed(schema.names)}",
        )
    columns.append(node.name)
    return node.name


def _value(node: exp.Expr, column: pa.Field, table: str) -> tuple[pa.Scalar, str]:
    sign = -1 if isinstance(node, exp.Neg) else 1
    inner = node.this if isinstance(node, exp.Neg) else node
    if isinstance(inner, exp.Boolean):
        return pa.scalar(bool(inner.this)), str(bool(inner.this)).lower()
    if not isinstance(inner, exp.Literal):
        raise _refused("a comparison with something that is no literal", table, column.name)
    text = str(inner.this)
    try:
        raw: Any = text if inner.is_string else sign * (float(text) if "." in text else int(text))
        value = pa.scalar(raw)
        if inner.is_string and pa.types.is_timestamp(column.type):
            value = value.cast(pa.timestamp("us"))  # without a zone: UTC
        value = value.cast(column.type)
    except (ValueError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _refused(f"the column is of type {column.type}", table, column.name) from error
    return value, _quoted(text) if inner.is_string else str(raw)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
