"""Aggregates of history: ``count(*)``, or sum, avg, min or max of a column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from estimators.errors import UsageError

AGGREGATE_RULE = "count(*), or count, sum, avg, min or max of one column"
Function = Literal["count", "sum", "avg", "min", "max"]

_AGGREGATE = re.compile(
    r"(count|sum|avg|min|max)\s*\(\s*(\*|[A-Za-z_][A-Za-z0-9_]*)\s*\)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate; `column` is None for ``count(*)``."""

    function: Function
    column: str | None


def parse_aggregate(text: str) -> Aggregate:
    """Read an aggregate.

    Raises
    ------
    UsageError
        The text is something else.
    """
    match = _AGGREGATE.fullmatch(text.strip())
    if match is None or (match[2] == "*" and match[1].lower() != "count"):
        raise UsageError(
            f"{text!r} is no aggregate", code="bad_aggregate", remedy=f"write {AGGREGATE_RULE}"
        )
    column = None if match[2] == "*" else match[2]
    return Aggregate(cast("Function", match[1].lower()), column)
