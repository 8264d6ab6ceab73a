"""Windows: how a study's time is cut, in its own time zone, with bounds in UTC.

Windows lie on a fixed grid that depends on `window.every` alone (months count from year 0, weeks
from Mondays, days from 0001-01-01), so that a schedule and any backfill cut time alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NoReturn, cast
from zoneinfo import ZoneInfo, available_timezones

from conf.names import nearest
from conf.study import Window
from estimators.errors import UsageError, Where

Unit = Literal["day", "week", "month", "year"]

ALL_START = datetime(1900, 1, 1, tzinfo=UTC)
ALL_END = datetime(2200, 1, 1, tzinfo=UTC)
EVERY_RULE = "`all`, or a number of days, weeks, months or years such as `1 month`"
DURATION_RULE = "`0`, or a number of minutes, hours, days or weeks such as `7 days`"
PERIOD_RULE = "2013, 2013-03, 2013-03-05 or a range such as 2013-01..2013-06"

_EVERY = re.compile(r"([1-9]\d{0,2}) +(day|week|month|year)s?", re.ASCII)
_DURATION = re.compile(r"(\d{1,5}) +(minute|hour|day|week)s?", re.ASCII)
_PERIOD = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Span:
    """A window.

    Attributes
    ----------
    start, end
        Bounds in UTC; the end is not part of the window.
    label
        The window in the study's time zone: ``2013``, ``2013-03``, ``2013-03-05``,
        ``2013-01..2013-06`` (both ends included) or ``all``. One window has one label.
    """

    start: datetime
    end: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Every:
    """The length of a window: `count` units."""

    count: int
    unit: Unit


ALL = Span(ALL_START, ALL_END, "all")


def _refuse(found: str, rule: str, code: str, window: str | None = None) -> NoReturn:
    remedy = f"write {rule}"
    raise UsageError(found, code=code, where=Where(window=window), remedy=remedy)


def every(text: str) -> Every | None:
    """Read `window.every`; None is `all`.

    Raises
    ------
    UsageError
        The text is not a number of days, weeks, months or years.
    """
    if text == "all":
        return None
    match = _EVERY.fullmatch(text.strip())
    if match is None:
        _refuse(f"{text!r} is no length of a window", EVERY_RULE, "bad_window")
    return Every(int(match[1]), cast("Unit", match[2]))


def duration(text: str) -> timedelta:
    """Read a horizon or a lookback: ``7 days``, ``1 day``, ``12 hours``, ``0``.

    Raises
    ------
    UsageError
        The text is not a duration. (Months and years have no fixed length.)
    """
    if text.strip() == "0":
        return timedelta(0)
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        _refuse(f"{text!r} is no duration", DURATION_RULE, "bad_duration")
    return timedelta(**{f"{match[2]}s": int(match[1])})


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises
    ------
    UsageError
        There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        close = nearest(name, available_timezones())
        hint = f"; did you mean {close!r}?" if close else ""
        _refuse(f"{name!r} is no time zone{hint}", "an IANA name such as America/New_York", "zone")


def parse_span(text: str | None, window: Window) -> Span:
    """Read one window as a user writes it.

    Parameters
    ----------
    text
        ``2013``, ``2013-03``, ``2013-03-05`` or a range of these (both ends included); None or
        ``all`` where `window.every` is ``all``.
    window
        The study's `window` section.

    Raises
    ------
    UsageError
        The text is not a window, or does not fit a study without (or with) time.
    """
    if every(window.every) is None:
        if text not in (None, "all"):
            _refuse(f"a window {text!r}", "no window: the study has `window.every: all`", "window")
        return ALL
    if text is None or text == "all":
        _refuse("no window was given", PERIOD_RULE, "window")
    first, _, last = text.partition("..")
    start, end = _days(first)[0], _days(last if ".." in text else first)[1]
    if start >= end:
        _refuse(f"the window {text!r} ends before it begins", PERIOD_RULE, "window", text)
    return _span(start, end, zone(window.timezone))


def split(first: str, last: str, window: Window) -> list[Span]:
    """Cut the time from `first` to `last`, both included, into the study's windows.

    The windows are those of the study's grid that hold some of this time: ``2013-01-15`` stands
    for all of January where `window.every` is ``1 month``.

    Raises
    ------
    UsageError
        As for `parse_span`.
    """
    step = every(window.every)
    if step is None:
        return [ALL]
    start, end = _days(first)[0], _days(last)[1]
    if start >= end:
        text = f"{first}..{last}"
        _refuse(f"{last} lies before {first}", "the earlier window first", "window", text)
    place = zone(window.timezone)
    index = _index(start, step)
    spans = []
    while _begin(index, step) < end:
        spans.append(_span(_begin(index, step), _begin(index + 1, step), place))
        index += 1
    return spans


def last_before(moment: datetime, window: Window) -> Span:
    """The last window of the study's grid that ends at or before a moment."""
    step = every(window.every)
    if step is None:
        return ALL
    place = zone(window.timezone)
    index = _index(moment.astimezone(place).date(), step)
    return _span(_begin(index - 1, step), _begin(index, step), place)


def span_of(start: datetime, end: datetime, window: Window) -> Span:
    """The window with these UTC bounds, as the record holds them, with its label."""
    if every(window.every) is None:
        return ALL
    place = zone(window.timezone)
    first, after = (bound.astimezone(place) for bound in (start, end))
    return Span(start, end, _label(first.date(), after.date()))


def _days(text: str) -> tuple[date, date]:
    """First day of a period and the day after its last."""
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        _refuse(f"{text!r} is no window", PERIOD_RULE, "window")
    year, month, day = (int(part) if part else None for part in match.groups())
    if year is None or not ALL_START.year <= year < ALL_END.year - 1:
        _refuse(f"the year of {text!r}", "a year from 1900 to 2198", "window")
    try:
        first = date(year, month or 1, day or 1)
    except ValueError:
        _refuse(f"{text!r} is no date", PERIOD_RULE, "window")
    if day:
        return first, first + timedelta(days=1)
    return first, _months_later(first, 1 if month else _MONTHS)


def _months_later(day: date, months: int) -> date:
    count = day.year * _MONTHS + day.month - 1 + months
    return date(count // _MONTHS, count % _MONTHS + 1, 1)


def _index(day: date, step: Every) -> int:
    """Number of the window of the grid that holds `day`."""
    counts = {
        "day": day.toordinal() - 1,
        "week": (day.toordinal() - 1) // 7,  # 0001-01-01 was a Monday
        "month": day.year * _MONTHS + day.month - 1,
        "year": day.year,
    }
    return counts[step.unit] // step.count


def _begin(index: int, step: Every) -> date:
    """First day of the window of that number."""
    count = index * step.count
    if step.unit in ("day", "week"):
        return date.fromordinal(count * (7 if step.unit == "week" else 1) + 1)
    months = count * (_MONTHS if step.unit == "year" else 1)
    return date(months // _MONTHS, months % _MONTHS + 1, 1)


def _span(start: date, end: date, place: ZoneInfo) -> Span:
    return Span(_midnight(start, place), _midnight(end, place), _label(start, end))


def _midnight(day: date, place: ZoneInfo) -> datetime:
    """Where clocks skip midnight this is the moment of the change; where they repeat it, the first.

    Both follow from fold=0 (PEP 495), so that windows neither overlap nor leave a gap.
    """
    return datetime.combine(day, time.min, tzinfo=place).astimezone(UTC)


def _label(start: date, end: date) -> str:
    last = end - timedelta(days=1)
    parts = [day.isoformat() for day in (start, last)]
    if start.day == 1 and end.day == 1:
        parts = [part[:7] for part in parts]
        if start.month == 1 and end.month == 1:
            parts = [part[:4] for part in parts]
    return parts[0] if parts[0] == parts[1] else "..".join(parts)
