"""One backfill of 500 small windows in one process, its memory after every window.

``python -m tests.soak`` writes ``results/soak.csv``, a row a window, and says after 1 % how long
the rest takes. Killed, it goes on with the windows that are missing, in a process with another
number; flat is judged within a process. ``--home`` keeps the home between calls.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "soak.csv"
COLUMNS = ("process", "registered", "seconds", "rss_mb", "threads", "open_files")
WINDOWS = 500


def resident() -> float:
    """Memory of this process in RAM, in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch:
    """Progress of the backfill as rows: one whenever a window is registered."""

    def __init__(self, writer: csv.DictWriter, flush: Callable[[], None], process: int) -> None:
        self.writer, self.flush, self.process = writer, flush, process
        self.began = time.monotonic()
        self.done = 0

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if note or stage != "register" or done == self.done:
            return
        self.done = done
        seconds = time.monotonic() - self.began
        row = (self.process, done, f"{seconds:.1f}", f"{resident():.1f}",
               len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))  # fmt: skip
        self.writer.writerow(dict(zip(COLUMNS, row, strict=True)))
        self.flush()
        if done == max(total // 100, 1):
            print(f"{done} of {total} windows; {seconds / done * (total - done) / 60:.0f} minutes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Backfill what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    home = options.home.resolve()
    for name in [each for each in os.environ if each.startswith(("CAUSEWAY_", "PREFECT_"))]:
        del os.environ[name]
    os.environ["CAUSEWAY_HOME"] = str(home)

    from pipelines.backfill import backfill
    from pipelines.backfill_report import Request
    from tests.soak import days

    file = home.parent / "orders.yaml"
    if not (home / "features").exists():
        file = days.prepare(home, options.windows)
    known: list[dict[str, str]] = []
    if options.results.exists():
        with options.results.open(newline="") as file_of_rows:
            known = list(csv.DictReader(file_of_rows))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("a", newline="") as sink:
        writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        process = 1 + max((int(row["process"]) for row in known), default=0)
        watch = Watch(writer, sink.flush, process)
        request = Request(str(file), days.label(0), days.label(options.windows - 1))
        report = backfill(request, watch)
    print(report.summary, report.error or "")
    return 1 if report.error else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
