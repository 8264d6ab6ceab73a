"""The last window of the grid that is over."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.study import Window
from conf.windows import ALL, last_before, split


@pytest.mark.parametrize(
    ("every", "zone", "moment", "label"),
    [
        ("1 month", "UTC", "2024-03-01T00:00", "2024-02"),
        ("1 month", "UTC", "2024-02-29T23:59", "2024-01"),
        ("1 month", "America/New_York", "2024-03-01T04:59", "2024-01"),
        ("1 month", "America/New_York", "2024-03-01T05:00", "2024-02"),
        ("1 day", "UTC", "2024-03-01T12:00", "2024-02-29"),
        ("1 year", "UTC", "2024-03-01T12:00", "2023"),
        ("3 months", "UTC", "2024-05-01T00:00", "2024-01..2024-03"),
        ("1 week", "UTC", "2024-03-06T00:00", "2024-02-26..2024-03-03"),
    ],
)
def test_the_window_before_a_moment(every: str, zone: str, moment: str, label: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert last_before(at, Window(every=every, timezone=zone)).label == label


def test_without_time_there_is_one_window() -> None:
    assert last_before(datetime(2024, 1, 1, tzinfo=UTC), Window()) == ALL


@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["1 day", "2 weeks", "1 month", "5 months", "1 year"]),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
)
def test_it_is_over_and_the_next_is_not(moment: datetime, every: str, zone: str) -> None:
    window, at = Window(every=every, timezone=zone), moment.replace(tzinfo=UTC)
    found = last_before(at, window)
    assert found.end <= at
    day = found.end.astimezone(ZoneInfo(zone)).date().isoformat()
    following = split(day, day, window)[0]
    assert following.start == found.end
    assert following.end > at
