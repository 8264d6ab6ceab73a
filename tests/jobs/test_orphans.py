"""A killed driver takes its Ray with it, and nothing of anybody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kills.process import survivors

ROOT = Path(__file__).resolve().parents[2]
SLEEPS = "import sys, time; kept = [open(each, 'w') for each in sys.argv[1:]]; time.sleep(60)"
DRIVER = """
import sys, time
from pathlib import Path
from jobs.orphans import cleared
with cleared(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.readline()
"""
RAY = """
import sys, time
from pathlib import Path
from conf.profile import Profile, Ray
from jobs import engines
profile = Profile(name="t", home=Path(sys.argv[1]), ray=Ray(num_cpus=1, object_store_memory=10**8))
with engines.ray_cluster(profile):
    import ray
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
    time.sleep(100)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running = []

    def one(*arguments: str, title: str = sys.executable) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [title, *arguments], executable=sys.executable, cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip
        return running[-1]

    yield one
    for each in running:
        each.kill()
        each.communicate()


def gone(path: Path) -> bool:
    deadline = time.monotonic() + 20
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not path.exists()


@pytest.mark.parametrize("killed", [True, False])
def test_only_what_belongs_to_the_folder_ends_and_only_after_a_kill(
    tmp_path: Path, start: Start, killed: bool
) -> None:
    folder, other = tmp_path / "cw-1", tmp_path / "cw-12"
    folder.mkdir()
    other.mkdir()
    driver = start("-c", DRIVER, str(folder))
    assert driver.stdout is not None
    assert driver.stdout.readline() == "up\n"
    agent = start("-c", SLEEPS, str(folder / "agent.log"), title="ray::Agent")
    starting = start("-c", "import time; time.sleep(60)", f"--log-dir={folder}/logs")
    anothers = start("-c", SLEEPS, str(other / "agent.log"), title="ray::Agent")
    while not (folder / "agent.log").exists() or not (other / "agent.log").exists():
        time.sleep(0.01)
    if killed:
        os.kill(driver.pid, signal.SIGKILL)
    else:
        driver.communicate("\n")
    assert gone(folder)
    assert anothers.poll() is None
    assert other.exists()
    expected = -signal.SIGKILL if killed else None
    assert [agent.poll(), starting.poll()] == [expected, expected]


@pytest.mark.slow
@pytest.mark.engines
def test_a_killed_driver_takes_its_ray_and_its_files_with_it(tmp_path: Path, start: Start) -> None:
    driver = start("-c", RAY, str(tmp_path))
    assert driver.stdout is not None
    session = Path(driver.stdout.readline().strip())
    assert session.is_dir()
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert survivors(driver.pid) == 0
    assert gone(session.parent)
