"""Memory that was freed goes back to the system; a process's peak is its own."""

from __future__ import annotations

import os
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


GROWN = """
import subprocess, sys
from jobs.memory import peak

if len(sys.argv) > 1:
    print(peak() < 300e6)
else:
    held = bytearray(500_000_000)
    held[::4096] = b"." * len(held[::4096])
    child = subprocess.run([sys.executable, sys.argv[0], "child"], capture_output=True, text=True)
    print(peak() > 500e6, child.stdout.strip())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_childs_peak_is_not_its_parents(tmp_path: Path) -> None:
    file = tmp_path / "grown.py"
    file.write_text(GROWN)
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, str(file)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["True", "True"]
