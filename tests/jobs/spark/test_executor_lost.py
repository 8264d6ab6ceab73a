"""An executor of a real cluster is killed at its work: the features have the same bytes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.spark import jvm
from tests.jobs import visits

pytestmark = [pytest.mark.slow, pytest.mark.engines, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = "org.apache.spark.deploy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(log: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A daemon of Spark's own, which the Python package brings without its scripts."""
    home = jvm.spark_home()
    with log.open("wb") as sink:
        return subprocess.Popen(
            [str(home / "bin" / "spark-class"), f"{DEPLOY}.{name}", *arguments],
            env={**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1",
                 "SPARK_DAEMON_MEMORY": "256m", "SPARK_NO_DAEMONIZE": "1"},
            stdout=sink, stderr=sink,
        )  # fmt: skip


def said(log: Path, words: str, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while words not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    return words in log.read_text()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """A master with two workers of one core: its address, and the workers' processes."""
    port = free_port()
    address = f"spark://127.0.0.1:{port}"
    running = []
    try:
        log = tmp_path / "master.log"
        given = ("--host", "127.0.0.1", "--webui-port", "0")
        running.append(start(log, "master.Master", *given, "--port", str(port)))
        assert said(log, "New state: ALIVE"), log.read_text()
        for number in range(2):
            log = tmp_path / f"worker-{number}.log"
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(tmp_path / f"w{number}"))
            running.append(start(log, "worker.Worker", *given, *size, address))
            assert said(log, "Successfully registered"), log.read_text()
        yield address, [each.pid for each in running[1:]]
    finally:
        for each in reversed(running):
            each.kill()
            each.wait()


def run(home: Path, *arguments: str) -> dict[str, Any]:
    visits.write(home)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.jobs.spark.losing", str(home), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=home, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_an_executor_that_is_lost_changes_nothing(
    tmp_path: Path, cluster: tuple[str, list[int]]
) -> None:
    address, workers = cluster
    alone = run(tmp_path / "alone", "local[2]")
    lost = run(tmp_path / "lost", address, *map(str, workers))
    assert lost["killed"], "no executor was at work"
    logs = "".join((tmp_path / f"worker-{number}.log").read_text() for number in range(2))
    assert "exitStatus 137" in logs, "the workers saw no executor killed"
    assert lost["digests"] == alone["digests"]
