"""A backfill of one window, in which a process of its engines is killed in the middle of a stage.

``python -m tests.pipelines.killing TITLE STAGE STUDY WINDOW PROFILE`` in a session of its own
writes how many were killed, the window's digests and the error, as JSON. ``STAGE/WORDS`` waits for
words in the stage's progress.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipelines.backfill import backfill
from pipelines.backfill_report import Request

PAUSE = 0.05
"""Seconds into its work at which a process is killed; half of it after each that had ended."""


def title(process: int) -> str:
    """First word of a process's command; Ray's workers have their task's name there."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode()
    return ""


def named(wanted: str) -> Iterator[int]:
    """Processes of this session by their title."""
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            session = (each / "stat").read_text().rsplit(")", 1)[1].split()[3]
            if int(session) == os.getsid(0) and wanted in title(int(each.name)):
                yield int(each.name)


def kill(wanted: str, killed: list[int]) -> None:
    """Kill one process that is at it: it is stopped first, and looked at again."""
    deadline, pause = time.monotonic() + 240, PAUSE
    while not killed and time.monotonic() < deadline:
        for process in list(named(wanted))[:1]:
            time.sleep(pause)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
                at_it = wanted in title(process)
                os.kill(process, signal.SIGKILL if at_it else signal.SIGCONT)
                killed += [process] * at_it
            pause /= 2
        time.sleep(0.002)


def main(wanted: str, stage: str, study: str, window: str, profile: str) -> None:
    """Backfill; the kill comes once the stage has begun."""
    killed: list[int] = []
    begun = threading.Event()
    stage, _, words = stage.partition("/")

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == stage and note and words in note and not begun.is_set():
            begun.set()
            threading.Thread(target=kill, args=(wanted, killed), daemon=True).start()

    report = backfill(Request(study, window, window, profile=profile), progress)
    digests = [each.digest for each in report.ended]
    print(json.dumps([len(killed), digests, str(report.error or "")]))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
