"""Cron expressions, field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from conf.cron import cron_fault, last_fire


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "0 3 2 * *", "*/15 0-6,22 1,15 jan-mar MON-FRI", "0 0 29 feb *", "5/10 * * * 7",
     "0 0 31 2 1", "0 0 1-31/2 */3 0"],
)  # fmt: skip
def test_valid(text):
    assert cron_fault(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "0 fields"),
        ("@daily", "1 fields"),
        ("0 3 2 * * *", "6 fields"),
        ("60 * * * *", "the minute '60'"),
        ("* 24 * * *", "the hour '24'"),
        ("* * 0 * *", "the day of the month '0'"),
        ("* * * 13 *", "the month '13'"),
        ("* * * * 8", "the day of the week '8'"),
        ("*/0 * * * *", "the minute '*/0'"),
        ("5-1 * * * *", "the minute '5-1'"),
        ("1,,2 * * * *", "the minute '1,,2'"),
        ("-1 * * * *", "the minute '-1'"),
        ("* * * jna *", "the month 'jna'"),
        ("? * * * *", "the minute '?'"),
        ("0 0 31 4,6,9,11 *", "never falls due"),
    ],
)
def test_faults(text, found):
    fault = cron_fault(text)
    assert fault is not None
    assert found in fault[0]
    assert fault[1]


@pytest.mark.parametrize(
    ("cron", "moment", "wanted"),
    [
        ("0 3 2 * *", "2026-03-05T00:00", "2026-03-02T08:00"),
        ("0 3 2 * *", "2026-03-02T07:59", "2026-02-02T08:00"),
        ("*/15 * * * *", "2026-03-05T10:14", "2026-03-05T10:00"),
        ("0 0 29 2 *", "2026-03-05T00:00", "2024-02-29T05:00"),
        ("0 6 13 * fri", "2026-03-12T00:00", "2026-03-06T11:00"),
        ("0 6 * * 7", "2026-03-05T00:00", "2026-03-01T11:00"),
        ("30 2 8 3 *", "2026-03-09T00:00", "2026-03-08T07:30"),
    ],
)
def test_when_a_cron_last_fell_due(cron, moment, wanted):
    """In New York: the 8th of March 2026 has no half past two."""
    at = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (moment, wanted)]
    assert last_fire(cron, ZoneInfo("America/New_York"), at[0]) == at[1]


def test_a_cron_that_was_not_due_yet_within_memory():
    assert last_fire("0 0 30 2 *", ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC)) is None
