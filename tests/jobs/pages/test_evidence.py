"""What is shown of a run: order, windows, verdicts, all from the Delta record."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.pages.evidence import step, worst
from tests.jobs import record_sample as sample
from tests.jobs.record_sample import evidence


def test_effects_come_in_the_studys_order_groups_after_their_effect(tmp_path: Path) -> None:
    found = evidence(sample.record(tmp_path))
    ids = [row["effect_id"] for row in found.effects]
    assert ids[0] == "plr.slope.rain.dep_delay"
    place = ids.index("irm.ate.rain.dep_delay")
    assert ids[place + 1 : place + 4] == [
        f"irm.ate.rain.dep_delay@origin={origin}" for origin in ("EWR", "JFK", "LGA")
    ]
    assert found.main["effect_id"] == "plr.slope.rain.dep_delay"
    assert len(found.headline) == 6


def test_the_verdict_is_the_worst_of_whole_effects(tmp_path: Path) -> None:
    found = evidence(sample.record(tmp_path))
    assert found.verdicts["irm.ate.rain.dep_delay"].verdict == "rejected"
    assert found.verdict == "rejected"
    assert worst(["holds", "doubtful"]) == "doubtful"
    assert worst([]) == "holds"


def test_windows_are_current_and_the_previous_has_the_same_length(tmp_path: Path) -> None:
    sample.record(tmp_path, "2013")
    sample.record(tmp_path, "2013-01")
    sample.record(tmp_path, "2013-02", recorded_at=sample.at(1))
    later = sample.record(tmp_path, "2013-02", salt="again", recorded_at=sample.at(2))
    march = evidence(sample.record(tmp_path, "2013-03"))
    assert [each.label for each in march.windows] == ["2013-01", "2013", "2013-02", "2013-03"]
    assert march.previous is not None
    assert march.previous.run_key == later.run_key
    assert march.current == march.run_key
    assert evidence(sample.record(tmp_path, "2013")).previous is None


def test_another_studys_windows_are_not_seen(tmp_path: Path) -> None:
    sample.record(tmp_path, "2013-01", loaded=sample.study(study="another"))
    assert len(evidence(sample.record(tmp_path, "2013-02")).windows) == 1


@pytest.mark.parametrize(
    ("every", "label", "expected"),
    [
        ("1 month", "2013-01", 43 * 12),
        ("1 month", "2013-02", 43 * 12 + 1),
        ("3 months", "2013-02", 43 * 4),
        ("1 year", "2013", 43),
        ("1 day", "2013-01", 15_706),
        ("all", "all", 0),
    ],
)
def test_the_step_is_the_place_on_the_studys_calendar(
    every: str, label: str, expected: int
) -> None:
    zoned = {"every": every, "timezone": "America/New_York"}
    loaded = sample.study(window=zoned)
    assert step(sample.span(label).start, loaded.study) == expected
