"""The committed rows of the kills, held to what was asked for; and what the comparison sees."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.kills.__main__ import _FAULTS, RESULTS
from tests.kills.scenarios import TIERS
from tests.kills.state import compare

JOBS = Path(__file__).parents[2] / "jobs"
OWN_TESTS = ("demo_lake.", "erasure.", "migration.", "features.", "lake.")
"""Points that tests of their own kill at; features in the tier with the engines."""


def test_after_every_kill_a_second_run_left_what_one_run_leaves() -> None:
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["killed"] == "True", row
        assert (row["rerun_code"], row["digests_equal"]) == ("0", "True"), row
        assert {row[name] for name in _FAULTS} == {"0"}, row
    done = sorted((row["tier"], row["scenario"], row["kill"]) for row in rows)
    wanted = [
        (tier, each.name, kill) for tier in TIERS for each in TIERS[tier] for kill in each.kills
    ]
    assert done == sorted(wanted)
    assert Counter(row["tier"] for row in rows) == {"prebuilt": 180, "engines": 20}


def test_every_fail_point_is_killed_at() -> None:
    killed = {
        kill.partition("#")[0]
        for scenarios in TIERS.values()
        for scenario in scenarios
        for kill in scenario.kills
    }
    found = {
        re.sub(r"\{\w+\}", "*", point)
        for file in JOBS.rglob("*.py")
        for point in re.findall(r'\breach\(f?"([^"]+)"\)', file.read_text())
    }
    assert len(found) > 25, "the pattern no longer finds the points"
    for point in found:
        if not point.startswith(OWN_TESTS):
            pattern = re.escape(point).replace(r"\*", r"\w+")
            assert any(re.fullmatch(pattern, each) for each in killed), point


@pytest.mark.parametrize(
    ("part", "change", "fault"),
    [
        ("rows", {"a": 2}, "double_rows"),
        ("rows", {"a": 1, "b": 1}, "double_rows"),
        ("rows", {}, "lost_rows"),
        ("runs", {"a": 1, "2024-01 RUNNING": 1}, "orphan_runs"),
        ("runs", {}, "orphan_runs"),
        ("models", {"a": 1, "version b key without files": 1}, "half_models"),
    ],
)
def test_a_difference_is_a_fault(part: str, change: dict[str, int], fault: str) -> None:
    expected = {"rows": {"a": 1}, "runs": {"a": 1}, "models": {"a": 1}}
    assert not any(compare(expected, expected).values())
    faults = compare(expected, expected | {part: change})
    assert {name for name, count in faults.items() if count} == {fault}
