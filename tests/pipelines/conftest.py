"""The command as a user runs it: a process of its own, a home of its own, its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conf.profile import settle
from pipelines.cli import execute
from pipelines.run import SETTINGS
from tests.pipelines.command import Causeway, Ran, causeway_in, clean_environment

COMMAND = Path(sys.prefix) / "bin" / "causeway"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    return clean_environment(home)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """Address of a real Prefect server on an empty database; this process's client uses it too."""
    settle(SETTINGS)
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        address = PREFECT_API_URL.value()
        assert address
        yield address


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
            with _prefect_at(settings.get("PREFECT_API_URL")):
                code = execute(arguments)
            shown = capfd.readouterr()
        return Ran(code, shown.out, shown.err)

    return run


@contextmanager
def _prefect_at(address: str | None) -> Iterator[None]:
    """What a new process would read from its environment: here `prefect_server` may have set it."""
    if "prefect" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    mine = {PREFECT_API_URL: address} if address else {}
    with temporary_settings(updates=mine, restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture
def causeway(home: Path, tmp_path: Path) -> Causeway:
    """Run `causeway ARGUMENTS` in a process of its own, in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    return causeway_in(folder, home)
