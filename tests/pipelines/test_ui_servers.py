"""Servers that `ui` starts: one that never listens, and one that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from estimators.errors import PlatformError
from pipelines import ui

NOWHERE = "http://127.0.0.1:1/health"


def test_a_server_that_does_not_start_is_named_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the port is in use')"]
    with (
        pytest.raises(PlatformError, match="MLflow server did not start") as caught,
        ui._server("MLflow", command, {}, NOWHERE, tmp_path),
    ):
        pass
    assert caught.value.code == "server_start"
    log = Path(str(caught.value.where.file))
    assert "the port is in use" in log.read_text()


def test_a_server_that_ends_is_named_with_its_exit_code() -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait()
        with pytest.raises(PlatformError, match="Prefect server ended with code 3") as caught:
            ui._wait({"Prefect": process})
    assert caught.value.code == "server_ended"
    assert "logs" in caught.value.remedy
