"""The unit SQL, read statically: one SELECT, its tables, its columns, what it may not call.

This pass serves early messages with lines. It knows no types and trusts a parser that is not
Spark's: the guard is the plan check on Spark's side.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from conf.names import listed, nearest
from conf.refused import (
    ALLOWED_OVER_WINDOW,
    CLOCKS,
    REFUSED,
    REFUSED_BARE,
    REFUSED_WITHOUT_ARGUMENT,
    SPECIAL_TIMES,
)

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # faults are ours to report, not its log's

PARAMETERS = ("window_start", "window_end")
_DIALECT = Spark()
_FUNCTIONS = "deterministic functions of the declared sources"
_ONE_SELECT = "exactly one SELECT (a WITH before it is fine)"
_DATED = {TokenType.DATE, TokenType.TIMESTAMP, TokenType.TIMESTAMPTZ, TokenType.TIMESTAMPLTZ}


@dataclass(frozen=True, slots=True)
class SqlFault:
    """A fault at a 1-based line of the SQL text."""

    line: int
    found: str
    allowed: str
    nearest: str | None = None


@dataclass(frozen=True, slots=True)
class UnitSql:
    """What the unit SQL says of itself.

    Attributes
    ----------
    columns
        Output columns in order, each with its expression; None where the SQL cannot be read.
    lines
        Line of each output column in the SQL text.
    faults
        All faults.
    """

    columns: Mapping[str, exp.Expr] | None
    lines: Mapping[str, int]
    faults: tuple[SqlFault, ...]


def _line(node: exp.Expr) -> int:
    """Line of the first part of `node` that the parser placed; identifiers and stars are."""
    return next((int(part.meta["line"]) for part in node.walk() if "line" in part.meta), 1)


def _name_line(item: exp.Expr) -> int:
    """Line of an output column's name."""
    return _line(item.args["alias"] if isinstance(item, exp.Alias) else item)


def read_unit_sql(sql: str, sources: Collection[str], *, windowed: bool) -> UnitSql:
    """Read the unit SQL.

    Parameters
    ----------
    sql
        The text, in Spark's dialect.
    sources
        Declared sources: the tables that it may name.
    windowed
        Whether the study has windows, so that both parameters must be used.
    """
    try:
        tokens = _DIALECT.tokenize(sql)
    except SqlglotError:
        return UnitSql(None, {}, (SqlFault(1, "a quote or a comment that is not closed", "SQL"),))
    faults = list(_refused(tokens))
    select, wrong = _parse(sql)
    if select is None:
        return UnitSql(None, {}, (*faults, *wrong))
    faults += _tables(select, sources)
    faults += _chance(select)
    faults += _parameters(select, tokens, windowed=windowed)
    items, wrong = _columns(select)
    columns = None if items is None else {name: item.unalias() for name, item in items.items()}
    lines = {name: _name_line(item) for name, item in (items or {}).items()}
    return UnitSql(columns, lines, (*faults, *wrong))


def read_expression(sql: str, *, clocks: bool = False) -> tuple[SqlFault, ...]:
    """Faults of one SQL expression over the columns of one source.

    Parameters
    ----------
    sql
        The expression.
    clocks
        Whether it may read the clock: a watermark may, `known_at` may not.
    """
    rule = "one SQL expression over the columns of the source"
    try:
        tokens = _DIALECT.tokenize(sql)
        statements = _DIALECT.parse(f"SELECT (\n{sql}\n) AS value")
    except SqlglotError:
        return (SqlFault(1, f"{sql!r}, which is not SQL", rule),)
    select = statements[0]
    if len(statements) != 1 or not isinstance(select, exp.Select):
        return (SqlFault(1, repr(sql), rule),)
    clauses = [name for name, part in select.args.items() if part]
    several = len(select.expressions) != 1 or isinstance(select.selects[0].unalias(), exp.Tuple)
    if clauses != ["expressions"] or several:
        return (SqlFault(1, repr(sql), rule),)
    faults = list(_refused(tokens, CLOCKS if clocks else frozenset()))
    inside = (exp.Select, exp.SetOperation, exp.Placeholder, exp.Parameter)
    if any(isinstance(node, inside) for node in select.walk() if node is not select):
        faults.append(SqlFault(1, "a query or a parameter inside the expression", rule))
    return tuple(faults)


def _parse(sql: str) -> tuple[exp.Select | None, list[SqlFault]]:
    try:
        statements = [each for each in _DIALECT.parse(sql) if each is not None]
    except ParseError as error:
        detail = error.errors[0] if error.errors else {}
        near = detail.get("highlight") or "the end"
        return None, [
            SqlFault(detail.get("line") or 1, f"SQL that breaks at {near!r}", "Spark SQL")
        ]
    except RecursionError:
        return None, [SqlFault(1, "SQL nested too deeply", _ONE_SELECT)]
    if len(statements) != 1:
        return None, [SqlFault(1, f"{len(statements) or 'no'} statements", _ONE_SELECT)]
    (tree,) = statements
    if isinstance(tree, exp.Select):
        return tree, []
    if isinstance(tree, exp.SetOperation):
        allowed = "one SELECT; put the set operation into a WITH and select from it"
        return None, [SqlFault(1, f"a {tree.key.upper()} at the top", allowed)]
    return None, [SqlFault(1, f"a {tree.key.upper()}", _ONE_SELECT)]


def _refused(tokens: list[Token], but: Collection[str] = ()) -> Iterator[SqlFault]:
    """Refused functions, by token: the tree gives many of them another name."""
    for index, token in enumerate(tokens):
        name = token.text.lower()
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        called = following is not None and following.token_type == TokenType.L_PAREN
        if token.token_type == TokenType.STRING or name in but:
            continue
        if called and name in REFUSED:
            if not (name in ALLOWED_OVER_WINDOW and _over(tokens, index + 1)):
                yield SqlFault(token.line, f"{name}(): {REFUSED[name]}", _FUNCTIONS)
        elif called and name in REFUSED_WITHOUT_ARGUMENT and _closes(tokens, index + 2):
            reason = REFUSED_WITHOUT_ARGUMENT[name]
            yield SqlFault(token.line, f"{name}() without an argument: {reason}", _FUNCTIONS)
        elif name in REFUSED_BARE and _is_bare(tokens, index):
            yield SqlFault(token.line, f"{name}: {REFUSED[name]}", _FUNCTIONS)
        elif token.token_type in _DATED and following is not None:
            special = following.text.strip().lower()
            if following.token_type == TokenType.STRING and special in SPECIAL_TIMES:
                found = f"{token.text} {following.text!r}: it reads the clock"
                yield SqlFault(token.line, found, "a literal date or time")


def _closes(tokens: list[Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].token_type == TokenType.R_PAREN


def _is_bare(tokens: list[Token], index: int) -> bool:
    """Whether the name stands as an expression: not quoted, not a column, not an alias."""
    before = tokens[index - 1].token_type if index else None
    return tokens[index].token_type != TokenType.IDENTIFIER and before not in (
        TokenType.DOT,
        TokenType.ALIAS,
    )


def _over(tokens: list[Token], opening: int) -> bool:
    """Whether OVER follows the call that opens at `opening`; IGNORE NULLS may lie between."""
    depth = 0
    for index in range(opening, len(tokens)):
        kind = tokens[index].token_type
        depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
        if depth == 0:
            return any(token.text.upper() == "OVER" for token in tokens[index + 1 : index + 4])
    return False


def _tables(select: exp.Select, sources: Collection[str]) -> Iterator[SqlFault]:
    known = {name.lower() for name in sources}
    named = {cte.alias.lower(): cte for cte in select.find_all(exp.CTE)}
    allowed = f"the declared sources {listed(sources)}"
    for name in sorted(known & named.keys()):
        line = _line(named[name].args["alias"])
        yield SqlFault(line, f"a WITH named like the source {name!r}", "another name")
    for table in select.find_all(exp.Table):
        name = table.name
        line = _line(table)
        if not isinstance(table.this, exp.Identifier):
            yield SqlFault(line, f"{table.this.sql(dialect='spark')} as a table", allowed)
        elif table.db or table.catalog:
            yield SqlFault(line, f"the table {table.sql(dialect='spark')}", allowed)
        elif name.lower() not in known | named.keys():
            yield SqlFault(line, f"the table {name!r}", allowed, nearest(name, sources))
        if table.args.get("version") or table.args.get("when"):
            yield SqlFault(line, f"time travel of {name!r}", "`version:` of the source")


def _chance(select: exp.Select) -> Iterator[SqlFault]:
    """Clauses whose rows are a matter of chance, or that run programs."""
    for sample in select.find_all(exp.TableSample):
        yield SqlFault(_line(sample), "TABLESAMPLE: other rows each time", "WHERE")
    for program in select.find_all(exp.QueryTransform):
        yield SqlFault(_line(program), "TRANSFORM: it runs a program", _FUNCTIONS)
    for limit in select.find_all(exp.Limit):
        if limit.parent and not limit.parent.args.get("order"):
            yield SqlFault(_line(limit), "LIMIT without ORDER BY: any rows", "ORDER BY keys")


def _parameters(select: exp.Select, tokens: list[Token], *, windowed: bool) -> Iterator[SqlFault]:
    allowed = "the parameters :window_start and :window_end"
    used, wrong = set(), False
    for node in select.find_all(exp.Placeholder, exp.Parameter):
        name = node.name
        if isinstance(node, exp.Placeholder) and name in PARAMETERS and not node.args.get("widget"):
            used.add(name)
            continue
        wrong = True
        hint = nearest(name, PARAMETERS) if name else None
        lines = (token.line for token in tokens if token.text == (name or "?"))
        found = f"the parameter {node.sql(dialect='spark')}"
        yield SqlFault(next(lines, 1), found, allowed, hint)
    missing = [f":{name}" for name in PARAMETERS if name not in used]
    if windowed and missing and not wrong:
        found = f"{' and '.join(missing)} not used, so windows would share rows"
        yield SqlFault(1, found, "WHERE time >= :window_start AND time < :window_end")


def _columns(select: exp.Select) -> tuple[Mapping[str, exp.Expr] | None, list[SqlFault]]:
    columns: dict[str, exp.Expr] = {}
    faults: list[SqlFault] = []
    lower: set[str] = set()
    for item in select.expressions:
        name = item.alias_or_name
        if item.is_star:
            star = item.sql(dialect="spark")
            allowed = "named columns: they are the study's contract with its tables"
            return None, [*faults, SqlFault(_line(item), f"SELECT {star}", allowed)]
        if isinstance(item, exp.Aliases) or not name:
            shown = item.sql(dialect="spark")[:60]
            faults.append(
                SqlFault(_line(item), f"a column without a name: {shown}", "`... AS name`")
            )
        elif name.lower() in lower:
            faults.append(SqlFault(_name_line(item), f"two columns named {name!r}", "one of each"))
        else:
            lower.add(name.lower())
            columns[name] = item
    return columns, faults
