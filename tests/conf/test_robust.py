"""Whatever stands in a file, it is a study or a list of faults with lines: never a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.keys import crossfit_key, features_key, run_key
from conf.load import parse_study
from conf.study import Study
from conf.windows import parse_span
from estimators.errors import Fault, StudyError

WORDS = st.sampled_from(
    ["", "all", "1 day", "coupon", "plr", "irm", "xgboost", "overlap", ">= 1", "region*size", "a b",
     "SELECT a FROM visits", "rand()", "*", "[", "@", "max(at)", "0 0 * * *", "UTC", "../x",
     "{lake}"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 500) | st.floats() | WORDS | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


def _read(text: str) -> Study | tuple[Fault, ...]:
    try:
        return parse_study(text, Path("s.yaml"))
    except StudyError as error:
        return error.faults


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return [place, *(each for key, item in inner for each in _places(item, (*place, key)))]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_at_any_place(data, small):
    study = yaml.safe_load(small)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(_places(study)[1:]))
        holder = study
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = data.draw(VALUES)
    text = yaml.safe_dump(study, allow_unicode=True)
    read = _read(text)
    if isinstance(read, Study):  # what is valid has keys
        span = parse_span(None if read.window.every == "all" else "2013", read.window)
        features_key(read, span, dict.fromkeys(read.sources, ("id", 1)))
        run_key(read, span, crossfit_key(read, "digest", "cpu"))
        return
    assert read
    for fault in read:
        assert 1 <= fault.where.line <= text.count("\n") + 1
        assert fault.found
        assert fault.allowed


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_cut_or_slip_in_the_text(data, small):
    start = data.draw(st.integers(0, len(small)))
    end = data.draw(st.integers(start, min(start + 40, len(small))))
    text = small[:start] + data.draw(st.text(max_size=5)) + small[end:]
    assert _read(text)
