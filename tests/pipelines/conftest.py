"""The command as a user runs it: a process of its own, a home of its own, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.cli import execute
from tests.pipelines.command import Causeway, Ran

COMMAND = Path(sys.prefix) / "bin" / "causeway"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The caller's environment without anything that steers Causeway or Prefect."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CAUSEWAY_", "PREFECT_", "MLFLOW_", "RAY_", "SPARK_"))
    }
    return kept | {"CAUSEWAY_HOME": str(home)}


@pytest.fixture
def here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Causeway:
    """Run `causeway ARGUMENTS` in this process: quick, for what needs no process of its own."""
    for name in list(os.environ):
        if name.startswith(("CAUSEWAY_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEWAY_HOME", str(home))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: str) -> Ran:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            capfd.readouterr()
            code = execute(arguments)
            shown = capfd.readouterr()
        return Ran(code, shown.out, shown.err)

    return run


@pytest.fixture
def causeway(environment: Mapping[str, str], tmp_path: Path) -> Causeway:
    """Run `causeway ARGUMENTS` in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    def run(*arguments: str, timeout: float = 240, **settings: str) -> Ran:
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=folder,
            env={**environment, **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
