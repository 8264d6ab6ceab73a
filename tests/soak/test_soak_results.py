"""The committed rows of the soak: within a process memory is flat once a round has passed."""

from __future__ import annotations

import csv

from pipelines.windows import ROUND
from tests.soak import allocator
from tests.soak.__main__ import RESULTS, WINDOWS


def test_memory_is_flat_after_the_first_round() -> None:
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for process in {row["process"] for row in rows}:
        mine = [row for row in rows if row["process"] == process]
        warm = [float(row["rss_mb"]) for row in mine if int(row["registered"]) > ROUND]
        assert len(warm) >= WINDOWS - ROUND, "too short to say"
        assert max(warm) <= 1.10 * min(warm)
        files = [int(row["open_files"]) for row in mine if int(row["registered"]) > ROUND]
        assert max(files) == min(files)


def test_commits_alone_keep_little_and_with_our_setting_nothing_after_a_while() -> None:
    with allocator.RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    grown = {}
    for setting in allocator.SETTINGS:
        mine = {int(row["commits"]): float(row["rss_mb"]) for row in rows
                if row["setting"] == setting}  # fmt: skip
        grown[setting] = mine[allocator.COMMITS] - mine[1]
        assert 0 < grown[setting] / allocator.COMMITS < 0.4, "MB a commit"
    assert grown["ours"] < 0.5 * grown["its default"]
    warm = [float(row["rss_mb"]) for row in rows
            if row["setting"] == "ours" and int(row["commits"]) >= 50]  # fmt: skip
    assert max(warm) <= 1.06 * min(warm)
