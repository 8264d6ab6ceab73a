"""Sources, the unit SQL and history: what is read, and when its rows count."""

from __future__ import annotations

import re
from collections.abc import Iterator

from conf.document import Place
from conf.history import AGGREGATE_RULE, parse_aggregate
from conf.names import IDENTIFIER_RULE, is_identifier, listed, nearest
from conf.rules.reading import Parts
from conf.sql import SqlFault, read_expression
from conf.windows import DURATION_RULE, duration
from estimators.errors import Fault, UsageError

_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


def source_faults(parts: Parts) -> Iterator[Fault]:
    """Placeholders of `table`, and the SQL expressions of sources."""
    doc = parts.doc
    for name in doc.mapping("sources"):
        place = ("sources", name)
        yield from _path(parts, place)
        event_time = doc.text(*place, "event_time")
        if event_time is not None and not is_identifier(event_time):
            found = f"the event_time {event_time!r}"
            yield doc.fault(
                (*place, "event_time"), found, f"a column of the table: {IDENTIFIER_RULE}"
            )
        for key in ("known_at", "watermark"):
            sql = doc.text(*place, key)
            faults = read_expression(sql, clocks=key == "watermark") if sql is not None else ()
            yield from _at(parts, (*place, key), faults)


def table_faults(parts: Parts) -> Iterator[Fault]:
    """Paths of the tables that correct predicted outcomes."""
    for outcome in parts.outcomes:
        for key in ("calibration", "training"):
            yield from _path(parts, ("outcomes", outcome, "predicted", key))


def _path(parts: Parts, place: Place) -> Iterator[Fault]:
    doc, at = parts.doc, (*place, "table")
    table = doc.text(*at)
    if table is not None and not table.strip():
        yield doc.fault(at, "an empty path", "the path of a Delta table")
    if not (table or "").isprintable():
        yield doc.fault(at, f"a control character in {table!r}", "the path of a Delta table")
    for key in _PLACEHOLDER.findall(table or ""):
        if key != "lake":
            found = f"the placeholder {{{key}}}"
            close = "{lake}" if nearest(key, ["lake"]) else None
            yield doc.fault(at, found, "{lake}", close)


def sql_faults(parts: Parts) -> Iterator[Fault]:
    """What `conf.sql` finds in the unit SQL, at the file's lines."""
    if parts.sql is not None:
        yield from _at(parts, ("units", "sql"), parts.sql.faults)


def _at(parts: Parts, place: Place, faults: tuple[SqlFault, ...]) -> Iterator[Fault]:
    for each in faults:
        line = parts.line_of_sql(place, each.line)
        yield parts.doc.fault(place, each.found, each.allowed, each.nearest, line=line)


def history_faults(parts: Parts) -> Iterator[Fault]:
    """A history's source, key, lookback and aggregates."""
    doc = parts.doc
    for name in doc.mapping("history"):
        place = ("history", name)
        yield from _source_of_history(parts, place)
        by, columns = doc.text(*place, "by"), parts.unit_columns
        if by is not None and columns is not None and by not in columns:
            found = f"`by: {by}`, which the unit SQL does not select"
            yield doc.fault((*place, "by"), found, listed(columns), nearest(by, columns))
        yield from _lookback(parts, (*place, "lookback"))
        for column in doc.mapping(*place, "columns"):
            text = doc.text(*place, "columns", column)
            if text is not None and not _is_aggregate(text):
                yield doc.fault((*place, "columns", column), f"{column}: {text}", AGGREGATE_RULE)
    if doc.mapping("history") and doc.text("units", "time") is None:
        found = "history without `units.time`"
        yield doc.fault(("history",), found, "`time:` in units: history is what lies before it")


def _source_of_history(parts: Parts, place: Place) -> Iterator[Fault]:
    doc, sources = parts.doc, parts.doc.mapping("sources")
    source = doc.text(*place, "from")
    if source is None:
        return
    if source not in sources:
        found = f"`from: {source}`, which is no source"
        yield doc.fault((*place, "from"), found, listed(sources), nearest(source, sources))
    elif doc.at("sources", source, "event_time") is None:
        found = f"history from {source!r}, which has no event_time"
        yield doc.fault((*place, "from"), found, f"`event_time:` in the source {source!r}")


def _lookback(parts: Parts, place: Place) -> Iterator[Fault]:
    text = parts.doc.text(*place)
    if text is None:
        return
    try:
        empty = not duration(text)
    except UsageError:
        empty = True
    if empty:
        rule = DURATION_RULE.removeprefix("`0`, or ")
        yield parts.doc.fault(place, f"the lookback {text!r}", rule)


def _is_aggregate(text: str) -> bool:
    try:
        parse_aggregate(text)
    except UsageError:
        return False
    return True
