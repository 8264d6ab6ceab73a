"""Cron expressions, field by field."""

from __future__ import annotations

import pytest

from conf.cron import cron_fault


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
