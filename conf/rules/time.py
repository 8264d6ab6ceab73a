"""Windows, unit time, horizons and the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import available_timezones

from conf.cron import cron_fault
from conf.document import Place
from conf.names import nearest
from conf.rules.reading import Parts
from conf.windows import DURATION_RULE, EVERY_RULE, duration, every, zone
from estimators.errors import Fault, UsageError


def time_faults(parts: Parts) -> Iterator[Fault]:
    """Windows, time zones, horizons and cron."""
    doc = parts.doc
    yield from _readable(parts, ("window", "every"), every, EVERY_RULE)
    for section in ("window", "schedule"):
        yield from _zone(parts, (section, "timezone"))
    if parts.windowed and doc.text("units", "time") is None and "time" not in doc.mapping("units"):
        found = f"`window.every: {doc.text('window', 'every')}` without `units.time`"
        yield doc.fault(("units",), found, "`time:` in units, or `window: {every: all}`")
    for outcome in doc.mapping("outcomes"):
        yield from _readable(parts, ("outcomes", outcome, "horizon"), duration, DURATION_RULE)
    cron = doc.text("schedule", "cron")
    fault = cron_fault(cron) if cron is not None else None
    if fault is not None:
        yield doc.fault(("schedule", "cron"), *fault)


def _readable(
    parts: Parts, place: Place, read: Callable[[str], object], rule: str
) -> Iterator[Fault]:
    text = parts.doc.text(*place)
    if text is None:
        return
    try:
        read(text)
    except UsageError:
        yield parts.doc.fault(place, f"`{place[-1]}: {text}`", rule)


def _zone(parts: Parts, place: Place) -> Iterator[Fault]:
    text = parts.doc.text(*place)
    if text is None:
        return
    try:
        zone(text)
    except UsageError:
        allowed = "an IANA name such as America/New_York"
        hint = nearest(text, available_timezones())
        yield parts.doc.fault(place, f"the time zone {text!r}", allowed, hint)
