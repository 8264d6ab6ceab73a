"""The committed rows of the soak: within a process memory is flat once a round has passed."""

from __future__ import annotations

import csv

from pipelines.windows import ROUND
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
