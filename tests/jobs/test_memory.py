"""Memory that was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
from jobs.memory import give_back

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

held = [bytes(2000) for _ in range(100_000)]
last = bytes(2000)  # above what is freed: the heap does not shrink by itself
full = resident()
del held
freed = resident()
give_back()
print(full - freed < 20, full - resident() > 150, len(last))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and glibc")
def test_freed_memory_goes_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["True", "True", "2000"], "not kept without, or not given back"
