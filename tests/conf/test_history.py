"""Aggregates of history, read."""

from __future__ import annotations

import pytest

from conf.history import Aggregate, parse_aggregate
from estimators.errors import UsageError


def test_aggregates_are_read_whatever_their_case_and_spaces() -> None:
    assert parse_aggregate(" COUNT( * ) ") == Aggregate("count", None)
    assert parse_aggregate("avg(spend)") == Aggregate("avg", "spend")


@pytest.mark.parametrize("text", ["median(x)", "sum(*)", "sum(a + b)", "count()", "", "avg(1x)"])
def test_what_is_no_aggregate_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_aggregate(text)
    assert caught.value.code == "bad_aggregate"
    assert "count(*)" in caught.value.remedy
