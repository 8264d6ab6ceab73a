"""Maturity: a window runs only once its outcomes are known and its sources are complete.

The watermark of a source is the time up to which it is complete: the commit time of the pinned
version, or the study's own `watermark:`. A plain ``max(column)`` is read off the table's file
statistics; any other expression needs Spark and is judged by the features stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlglot
from sqlglot import exp

from conf.study import Source, Study
from conf.windows import ALL, Span, duration
from estimators.errors import NotMatureError, Where
from jobs.lake import Pin
from jobs.statistics import latest


def ready_at(study: Study, span: Span) -> datetime:
    """When the window's last outcome is known: its end plus the longest horizon."""
    longest = max((duration(each.horizon) for each in study.outcomes.values()), default=timedelta())
    return span.end + longest


def timed_sources(study: Study, span: Span) -> Iterator[tuple[str, Source]]:
    """Sources whose watermark counts: those with a time; all of them where none has one.

    A table without `event_time`, such as one of aircraft, is not written month by month and may
    be older than the window.
    """
    if span == ALL:
        return
    timed = {
        name: each for name, each in study.sources.items() if each.event_time or each.watermark
    }
    yield from (timed or study.sources).items()


def require_mature(
    study: Study, span: Span, pin: Pin, watermark: datetime | None, label: str = "committed"
) -> None:
    """Refuse a window whose outcomes the source cannot hold yet.

    Parameters
    ----------
    watermark
        Up to when the source is complete; None where it holds no time.
    label
        What the watermark is, for the message.

    Raises
    ------
    NotMatureError
        With the moment from which the window may run.
    """
    ready = ready_at(study, span)
    if watermark is not None and watermark >= ready:
        return
    found = _shown(watermark) if watermark else "nothing (it holds no time)"
    raise NotMatureError(
        f"the window's outcomes are known from {_shown(ready)} on; {pin.name} is {label} "
        f"up to {found}",
        where=Where(table=pin.name, version=pin.version, window=span.label),
        remedy=f"run it again once {pin.name} holds data up to {_shown(ready)}",
    )


def check_recorded(study: Study, span: Span, pins: dict[str, Pin]) -> None:
    """Judge every watermark that needs no Spark.

    Raises
    ------
    NotMatureError
        A source is not complete up to the window's end plus the longest horizon.
    """
    for name, source in timed_sources(study, span):
        pin = pins[name]
        if source.watermark is None:
            require_mature(study, span, pin, pin.committed_at)
        else:
            known, found = statistic(source.watermark, pin)
            if known:
                require_mature(study, span, pin, found, source.watermark)


def pending(study: Study, span: Span, pins: dict[str, Pin]) -> dict[str, str]:
    """Watermarks that Spark must evaluate: source name to expression."""
    declared = {name: each.watermark for name, each in timed_sources(study, span)}
    return {
        name: text for name, text in declared.items() if text and not statistic(text, pins[name])[0]
    }


def statistic(watermark: str, pin: Pin) -> tuple[bool, datetime | None]:
    """Read ``max(column)`` off the file statistics of the pinned version.

    Returns
    -------
    tuple
        Whether the statistics answer, and the answer; None where the table holds no time.
    """
    tree = sqlglot.parse_one(watermark, dialect="spark")
    if not isinstance(tree, exp.Max) or not isinstance(tree.this, exp.Column) or tree.expressions:
        return False, None
    return latest(pin, tree.this.name)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
