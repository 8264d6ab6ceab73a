"""Cron expressions: five fields, checked before a scheduler sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        names = f" (or {self.words[0]} to {self.words[-1]})" if self.words else ""
        return f"{self.name} from {self.low} to {self.high}{names}, `*`, `a-b`, `*/n` or a list"

    def number(self, text: str) -> int | None:
        if text.lower() in self.words:
            return self.words.index(text.lower()) + self.low
        inside = text.isascii() and text.isdecimal() and self.low <= int(text) <= self.high
        return int(text) if inside else None

    def values(self, text: str) -> set[int] | None:
        """The values that a field stands for; None where it is not valid."""
        found: set[int] = set()
        for part in text.split(","):
            span, slash, step = part.partition("/")
            if slash and not (step.isdecimal() and 0 < int(step) <= self.high):
                return None
            first, dash, last = span.partition("-")
            if span == "*":
                low, high = self.low, self.high
            else:
                start = self.number(first)
                stop = self.number(last) if dash else start
                if start is None or stop is None or stop < start:
                    return None
                low, high = start, self.high if slash and not dash else stop
            found.update(range(low, high + 1, int(step) if slash else 1))
        return found


_FIELDS = (
    _Field("a minute", 0, 59),
    _Field("an hour", 0, 23),
    _Field("a day of the month", 1, 31),
    _Field("a month", 1, 12, _MONTHS),
    _Field("a day of the week", 0, 7, _WEEKDAYS),
)


def cron_fault(text: str) -> tuple[str, str] | None:
    """What is wrong with a cron expression: what was found and what is allowed; None if nothing.

    >>> cron_fault("0 3 2 * *") is None
    True
    >>> cron_fault("0 25 * * *")[0]
    "the hour '25'"
    """
    parts = text.split()
    if len(parts) != len(_FIELDS):
        rule = "five fields: minute, hour, day of the month, month, day of the week"
        return f"{len(parts)} fields in the cron {text!r}", rule
    values = []
    for part, each in zip(parts, _FIELDS, strict=True):
        found = each.values(part)
        if not found:
            return f"the {each.name.split(' ', 1)[1]} {part!r}", each.rule
        values.append(found)
    _, _, days, months, _ = values
    longest = max(_LONGEST[month - 1] for month in months)
    if parts[4] == "*" and min(days) > longest:
        return f"the cron {text!r} never falls due", f"a day up to {longest} in these months"
    return None


_LOOK_BACK = 366 * 8
"""Days: 29 February comes again within them."""


def last_fire(text: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The last time at which a valid cron expression fell due, up to `moment`; in UTC.

    Where both the day of the month and of the week are restricted either will do, as in cron.
    Times that clocks skip fall due at the moment of the change.
    """
    parts = text.split()
    minutes, hours, days, months, weekdays = (
        each.values(part) or set() for part, each in zip(parts, _FIELDS, strict=True)
    )
    weekdays = {number % 7 for number in weekdays}
    either = parts[2] != "*" and parts[4] != "*"

    def falls(day: date) -> bool:
        of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
        chosen = (of_month or of_week) if either else (of_month and of_week)
        return day.month in months and chosen

    today = moment.astimezone(zone).date()
    for back in range(_LOOK_BACK):
        day = today - timedelta(days=back)
        if not falls(day):
            continue
        times = (
            datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
            for hour in hours
            for minute in minutes
        )
        before = [each for each in times if each <= moment]
        if before:
            return max(before)
    return None
