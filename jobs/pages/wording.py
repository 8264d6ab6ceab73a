"""How figures, notes and tags say things: numbers, intervals, effects and checks in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from estimators.catalog import CHECKS

Row = Mapping[str, Any]
"""A row of the record's ``effects``."""

_ESTIMANDS = {
    "slope": "slope",
    "ate": "average effect",
    "att": "average effect on the treated",
    "atu": "average effect on the untreated",
    "ato": "average effect weighted by overlap",
    "late": "average effect on compliers",
    "mean": "average outcome under the arm",
}
_MAX_DECIMALS = 6
_PLAIN = range(-4, 7)
"""Powers of ten that are written without an exponent."""


def finite(value: float | None) -> bool:
    """Whether there is a number to show."""
    return value is not None and math.isfinite(value)


def significant(value: float, digits: int = 4) -> float:
    """`value` at `digits` significant digits: what a metric shows."""
    return float(f"{value:.{digits}g}")


def number(value: float | None, digits: int = 3) -> str:
    """A number for a sentence: `digits` significant digits, no exponent where it can be avoided."""
    if value is None or not math.isfinite(value):
        return "n/a"
    size = math.floor(math.log10(abs(value))) if value else 0
    short = f"{value:.{digits}g}"
    return f"{Decimal(short):,f}" if size in _PLAIN else short


def decimals(se: float | None) -> int:
    """Decimals that show two significant digits of a standard error."""
    if se is None or not math.isfinite(se) or se <= 0:
        return 3
    return max(0, min(1 - math.floor(math.log10(se)), _MAX_DECIMALS))


def signed(value: float, places: int) -> str:
    """A change, with its sign."""
    return f"{value:+,.{places}f}"


def estimable(row: Row) -> bool:
    """Whether the effect has an estimate with an interval."""
    return row["status"] == "ok" and all(
        finite(row[name]) for name in ("theta", "se", "ci_low", "ci_high")
    )


def interval(row: Row) -> str:
    """``3.46 [2.86, 4.06]``, or why there is none."""
    if not estimable(row):
        return f"not estimable ({row['error_code'] or 'no_interval'})"
    places = decimals(row["se"])
    theta, low, high = (f"{row[name]:,.{places}f}" for name in ("theta", "ci_low", "ci_high"))
    return f"{theta} [{low}, {high}]"


def level(row: Row) -> str:
    """The interval's level: ``95 %``."""
    return f"{100 * row['level']:g} %"


def treatment(row: Row) -> str:
    """The treatment, with its arm where it has more than two, and what that is compared with."""
    if not row["arm"]:
        return str(row["treatment"])
    against = f" (against {row['control']})" if row.get("control") else ""
    return f"{row['treatment']}={row['arm']}{against}"


def model(row: Row) -> str:
    """Method and estimand, short: ``IRM ATT``, ``PLR slope``, ``APO mean``."""
    estimand = str(row["estimand"])
    shown = estimand if estimand in ("slope", "mean") else estimand.upper()
    return f"{str(row['method']).upper()} {shown}"


def is_mean(row: Row) -> bool:
    """Whether it is an arm's mean outcome: a level, where all others are differences."""
    return bool(row["estimand"] == "mean")


def scale(row: Row) -> str:
    """What effects share an axis by: the outcome, as a difference or as a level."""
    return f"{row['outcome']}:mean" if is_mean(row) else str(row["outcome"])


def estimand(row: Row) -> str:
    """The estimand in words."""
    return _ESTIMANDS.get(str(row["estimand"]), str(row["estimand"]))


def group(row: Row) -> str:
    """``origin = JFK``, empty for the whole window."""
    return f"{row['group_by']} = {row['group_value']}" if row["group_by"] else ""


def name(row: Row) -> str:
    """An effect in one line: ``IRM ATT of rain on dep_delay``."""
    text = f"{model(row)} of {treatment(row)} on {row['outcome']}"
    return f"{text}, {group(row)}" if row["group_by"] else text


def metric_title(check: str, metric: str) -> str:
    """A check's metric in the catalogue's words, its name where the catalogue has none."""
    known = CHECKS.get(check)
    if known is None or metric not in known.metrics:
        return f"{check}.{metric}"
    return known.metrics[metric].title


def shorten(text: str, size: int) -> str:
    """Cut the middle out of a text that is too long for its place."""
    if len(text) <= size:
        return text
    head = (size - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (size - 1 - head) :]}"
