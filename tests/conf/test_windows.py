"""Windows: bounds in UTC from the study's zone, labels, the grid, durations."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.study import Window
from conf.windows import ALL, duration, parse_span, span_of, split
from estimators.errors import UsageError

NEW_YORK = Window(every="1 month", timezone="America/New_York")


def _utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2013", _utc(2013, 1, 1, 5), _utc(2014, 1, 1, 5)),
        ("2013-03", _utc(2013, 3, 1, 5), _utc(2013, 4, 1, 4)),  # summer time begins on the 10th
        ("2013-11", _utc(2013, 11, 1, 4), _utc(2013, 12, 1, 5)),
        ("2013-03-10", _utc(2013, 3, 10, 5), _utc(2013, 3, 11, 4)),  # a day of 23 hours
        ("2013-01..2013-06", _utc(2013, 1, 1, 5), _utc(2013, 7, 1, 4)),
        ("2013-12-31..2014", _utc(2013, 12, 31, 5), _utc(2015, 1, 1, 5)),
    ],
)
def test_bounds_follow_the_zone_and_its_summer_time(text, start, end):
    span = parse_span(text, NEW_YORK)
    assert (span.start, span.end) == (start, end)
    assert span.start.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("2013", "2013"),
        ("2013-03", "2013-03"),
        ("2013-03-05", "2013-03-05"),
        ("2013-01..2013-06", "2013-01..2013-06"),
        ("2013-01..2013-12", "2013"),
        ("2013-03-01..2013-03-31", "2013-03"),
        ("2013-03-04..2013-03-10", "2013-03-04..2013-03-10"),
        ("2012..2013", "2012..2013"),
        (" 2013-03 ", "2013-03"),
    ],
)
def test_one_window_has_one_label(text, label):
    span = parse_span(text, NEW_YORK)
    assert span.label == label
    assert span_of(span.start, span.end, NEW_YORK) == span


@pytest.mark.parametrize(
    "text",
    [
        None, "all", "", "13", "2013-13", "2013-02-30", "2013-3", "2013-03..2013-01", "2013..",
        "..2013", "2013-01...2013-02", "0000", "9999", "2013-01-01T00:00", "March",
        "2013..2014..2015", "\u0662\u0660\u0661\u0663",
    ],
)  # fmt: skip
def test_nonsense_is_a_usage_error_that_shows_how_to_write_it(text):
    with pytest.raises(UsageError) as caught:
        parse_span(text, NEW_YORK)
    assert caught.value.exit_code == 2
    assert "2013-03" in caught.value.remedy or "year" in caught.value.remedy


def test_a_study_without_windows_has_the_one_window_all():
    window = Window(every="all")
    assert parse_span(None, window) == parse_span("all", window) == ALL
    assert (ALL.start, ALL.end, ALL.label) == (_utc(1900, 1, 1), _utc(2200, 1, 1), "all")
    assert split("2013", "2014", window) == [ALL]
    with pytest.raises(UsageError):
        parse_span("2013", window)


def test_midnights_that_clocks_skip_or_repeat_leave_no_gap():
    # Sao Paulo 2013-10-20: clocks went from 00:00 to 01:00; Havana 2013-11-03: from 01:00 to 00:00.
    skipped = parse_span("2013-10-20", Window(every="1 day", timezone="America/Sao_Paulo"))
    assert (skipped.start, skipped.end) == (_utc(2013, 10, 20, 3), _utc(2013, 10, 21, 2))
    repeated = parse_span("2013-11-03", Window(every="1 day", timezone="America/Havana"))
    assert (repeated.start, repeated.end) == (_utc(2013, 11, 3, 4), _utc(2013, 11, 4, 5))


def test_split_is_by_every_both_ends_included():
    labels = [span.label for span in split("2013-01", "2013-04", NEW_YORK)]
    assert labels == ["2013-01", "2013-02", "2013-03", "2013-04"]
    assert len(split("2013", "2013", NEW_YORK)) == 12
    assert [s.label for s in split("2013-02-10", "2013-03-05", NEW_YORK)] == ["2013-02", "2013-03"]


@pytest.mark.parametrize(
    ("every", "labels"),
    [
        ("1 year", ["2013"]),
        ("3 months", ["2013-01..2013-03", "2013-04..2013-06"]),
        ("1 week", ["2013-03-18..2013-03-24", "2013-03-25..2013-03-31", "2013-04-01..2013-04-07"]),
        ("1 day", [f"2013-03-{day}" for day in range(20, 32)] + ["2013-04-01", "2013-04-02"]),
    ],
)
def test_windows_lie_on_a_grid_that_does_not_depend_on_where_a_backfill_begins(every, labels):
    window = Window(every=every, timezone="America/New_York")
    assert [span.label for span in split("2013-03-20", "2013-04-02", window)] == labels


DAYS = st.dates(date(1935, 1, 1), date(2150, 1, 1))
EVERIES = st.builds(
    lambda count, unit: f"{count} {unit}{'s' if count > 1 else ''}",
    st.integers(1, 30),
    st.sampled_from(["day", "week", "month", "year"]),
)
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata"]
)


@settings(deadline=None)  # a busy machine is no fault
@given(first=DAYS, length=st.integers(0, 900), every=EVERIES, zone=ZONES)
def test_split_covers_the_range_without_gap_or_overlap(first, length, every, zone):
    window = Window(every=every, timezone=zone)
    last = first + timedelta(days=length)
    wanted = parse_span(f"{first}..{last}", window)
    spans = split(str(first), str(last), window)
    assert spans[0].start <= wanted.start < spans[0].end
    assert spans[-1].start < wanted.end <= spans[-1].end
    for one, following in pairwise(spans):
        assert one.end == following.start
    for span in spans:
        assert span.start < span.end
        assert parse_span(span.label, window) == span
    assert len({span.label for span in spans}) == len(spans)


@settings(deadline=None)  # a busy machine is no fault
@given(day=DAYS, earlier=st.integers(0, 400), every=EVERIES)
def test_a_day_falls_into_the_same_window_of_any_backfill(day, earlier, every):
    window = Window(every=every)
    alone = split(str(day), str(day), window)
    assert len(alone) == 1
    assert split(str(day - timedelta(days=earlier)), str(day), window)[-1] == alone[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", timedelta(0)),
        ("1 day", timedelta(days=1)),
        ("7 days", timedelta(days=7)),
        ("12 hours", timedelta(hours=12)),
        ("90 minutes", timedelta(minutes=90)),
        ("2 weeks", timedelta(weeks=2)),
    ],
)
def test_durations(text, expected):
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "7", "1 month", "-1 day", "1.5 days", "day", "1day", "1 day 2 hours"]
)
def test_what_is_no_duration(text):
    with pytest.raises(UsageError):
        duration(text)
