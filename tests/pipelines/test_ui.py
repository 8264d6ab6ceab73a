"""`causeway ui` with real servers: pages that answer, no address told, a clean end."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.infra.machine import family, kill
from tests.pipelines.command import COMMAND, clean_environment


@pytest.mark.slow
@pytest.mark.engines
def test_both_servers_answer_and_end_with_the_command(tmp_path: Path) -> None:
    said = tmp_path / "said"
    words = [str(COMMAND), "ui", "--port", "0", "--prefect", "--prefect-port", "0"]
    with said.open("wb") as output:
        ui = subprocess.Popen(
            words, env=clean_environment(tmp_path / "home"), cwd=tmp_path, stderr=output
        )
    try:
        deadline = time.monotonic() + 240
        while "Ctrl-C" not in said.read_text():
            assert ui.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.5)
        mlflow, prefect = re.findall(r"^\w+ +(http://127\.0\.0\.1:\d+)/", said.read_text(), re.M)
        assert httpx.get(mlflow, timeout=30).status_code == 200
        assert httpx.get(f"{prefect}/api/health", timeout=30).status_code == 200
        members = family(ui.pid)
        lines = [Path(f"/proc/{each}/cmdline").read_bytes() for each in members]
        assert len(lines) >= 3
        assert not any(b"sqlite:" in line for line in lines), "an address may hold a password"
        ui.send_signal(signal.SIGINT)
        assert ui.wait(60) == 0
        assert not any(Path(f"/proc/{each}").exists() for each in members)
    finally:
        kill(ui)
    assert (tmp_path / "home" / "mlflow" / "mlflow.db").is_file()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["home", "said"]
