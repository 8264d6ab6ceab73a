"""Names in a study: what is allowed, what is taken, and the nearest to a wrong one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IDENTIFIER_RULE = "a letter or _, then letters, digits and _"

FEATURES_RESERVED = (
    "features_key",
    "unit_id",
    "cluster_id",
    "unit_time",
    "weight",
    "fold",
)
"""Columns that every features table has; the study's own columns follow under their names.

``features_key string, unit_id string, cluster_id string?, unit_time timestamp?, weight double,
fold array<int>`` (one entry a repetition), partitioned by ``features_key``.
"""

_MOST_LISTED = 14


def is_identifier(name: str) -> bool:
    """Whether `name` can name a source, a column, a treatment or an outcome."""
    return IDENTIFIER.fullmatch(name) is not None


def nearest(found: str, allowed: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The allowed name closest to `found`, by spelling and without regard to case."""
    by_fold = {name.casefold(): name for name in allowed}
    close = difflib.get_close_matches(found.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[close[0]] if close else None


def listed(names: Iterable[str]) -> str:
    """Names in one line, cut where they are many."""
    known = list(names)
    shown = ", ".join(known[:_MOST_LISTED])
    more = len(known) - _MOST_LISTED
    return f"{shown}, ... ({more} more)" if more > 0 else shown or "none is declared"
