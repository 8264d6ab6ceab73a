"""What a Ray of ours leaves behind where its driver is killed: ended, and its files removed.

Most of Ray's processes die with their driver. Two agents do not: for a minute they try to reach a
control process that is gone (ray 2.60, ``_private/process_watcher.py``). Files always stay.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["cleared"]

_PATIENCE = 30.0
_QUIET = 3  # looks that find nobody: a process may be in the middle of starting another


@contextmanager
def cleared(folder: Path) -> Iterator[None]:
    """Remove a Ray's folder afterwards; a process beside this one does it if this one is killed.

    That one is in a session of its own: what is sent to this one's group does not reach it.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        bufsize=0,
    )
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            watcher.communicate(b"all is well")
        shutil.rmtree(folder, ignore_errors=True)


def _watch(folder: str) -> None:
    """Wait for a word of the driver, or for its end without one."""
    driver = os.getppid()
    told: list[int] = []
    while not told and os.getppid() == driver:  # a fork of the driver may hold the pipe open
        told, _, _ = select.select([0], [], [], 1.0)
    if told and os.read(0, 1):
        return
    deadline, quiet = time.monotonic() + _PATIENCE, 0
    while quiet < _QUIET and time.monotonic() < deadline:
        quiet = 0 if _kill(folder) else quiet + 1
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(folder: str) -> int:
    """Kill the Python processes of the folder's Ray; how many there were."""
    found = 0
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is somebody else's
            if _belongs(each, folder):
                os.kill(int(each.name), signal.SIGKILL)
                found += 1
    return found


def _belongs(process: Path, folder: str) -> bool:
    """Whether Ray started it there: it says so in its command, or has a Ray title and logs there.

    (Titles overwrite commands and environments. A fork of the driver has its logs and no title.)
    """
    if int(process.name) == os.getpid():
        return False
    if os.readlink(process / "exe") != os.readlink("/proc/self/exe"):
        return False
    command = (process / "cmdline").read_bytes()
    if not command.startswith(b"ray::"):
        return f"{folder}/".encode() in command
    return any(os.readlink(file).startswith(f"{folder}/") for file in (process / "fd").iterdir())


if __name__ == "__main__":
    _watch(sys.argv[1])
