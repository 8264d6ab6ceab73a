"""What stays with a process that commits to Delta and reads back: delta-rs's own allocator.

``python -m tests.soak.allocator`` writes ``results/allocator.csv``: memory of a process by the
number of commits, with the allocator's own settings, with free pages given back at once, and with
ours, where threads keep no caches. Nothing is estimated, Arrow's pool and glibc's heaps are given
back after every commit.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "allocator.csv"
COLUMNS = ("setting", "commits", "rss_mb", "threads")
SETTINGS = {
    "its default": "tcache:true",
    "free pages given back": "narenas:2,dirty_decay_ms:0,muzzy_decay_ms:0",
    "ours": "",
}
"""What the allocator is told; ours is set by the package ``jobs``."""
COMMITS, EVERY = 150, 25


def commit(setting: str) -> None:
    """Commit eight rows at a time and read all of them; print a row of figures now and then."""
    import pyarrow as pa

    from jobs.contracts import CHECKS
    from jobs.lake import append_once, read_record
    from jobs.memory import give_back
    from tests.soak.__main__ import resident

    texts = {each.name: "x" for each in CHECKS if pa.types.is_string(each.type)}
    times = {each.name: datetime.now(UTC) for each in CHECKS if pa.types.is_timestamp(each.type)}
    rows = pa.Table.from_pylist([texts | times] * 8, schema=CHECKS)
    with tempfile.TemporaryDirectory() as root:
        for done in range(1, COMMITS + 1):
            append_once(root, "checks", f"run {done}", rows)
            read_record(root, "checks")
            give_back()
            if done == 1 or done % EVERY == 0:
                threads = len(os.listdir("/proc/self/task"))
                print(f"{setting},{done},{resident():.1f},{threads}", flush=True)


def main() -> None:
    """Measure each setting in a process of its own."""
    with RESULTS.open("w", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, value in SETTINGS.items():
            given = os.environ | ({"_RJEM_MALLOC_CONF": value} if value else {})
            command = [sys.executable, "-m", "tests.soak.allocator", name]
            ran = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
            writer.writerows(line.split(",") for line in ran.stdout.splitlines())


if __name__ == "__main__":
    commit(sys.argv[1]) if len(sys.argv) > 1 else main()
    sys.stdout.flush()
    os._exit(0)
