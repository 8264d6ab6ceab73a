"""The committed rows of the soak: within a process memory is flat once a round has passed."""

from __future__ import annotations

import csv

from pipelines.windows import ROUND
from tests.soak import allocator
from tests.soak.__main__ import RESULTS


def test_memory_is_flat_after_the_first_round() -> None:
    with RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for process in {row["process"] for row in rows}:
        mine = [row for row in rows if row["process"] == process]
        warm = [float(row["rss_mb"]) for row in mine if int(row["registered"]) > ROUND]
        assert len(warm) >= 90, "too short to say"
        assert max(warm) <= 1.10 * min(warm)
        files = [int(row["open_files"]) for row in mine if int(row["registered"]) > ROUND]
        assert max(files) == min(files)


def test_commits_alone_keep_little_and_threads_stop_growing() -> None:
    with allocator.RESULTS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for setting in allocator.SETTINGS:
        mine = {int(row["commits"]): row for row in rows if row["setting"] == setting}
        grown = float(mine[allocator.COMMITS]["rss_mb"]) - float(mine[1]["rss_mb"])
        assert 0 < grown / allocator.COMMITS < 0.4, "MB a commit"
        assert int(mine[allocator.COMMITS]["threads"]) - int(mine[75]["threads"]) <= 5
