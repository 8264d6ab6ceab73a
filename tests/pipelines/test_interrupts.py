"""Ctrl-C, SIGTERM and two runs at once: the record is right, nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.lake import exists, read_record
from tests.jobs import prebuilt
from tests.pipelines.command import COMMAND, Ran, causeway_in, clean_environment
from tests.pipelines.small_study import WINDOW, write_orders, write_study

pytestmark = pytest.mark.engines


def start(
    home: Path, study: Path, log: Path, prefect_server: str, on_sigint: signal.Handlers
) -> subprocess.Popen[str]:
    """Start a run in a session of its own, its stderr in a file.

    A shell starts what it puts in the background with SIGINT ignored; these tests may be there too.
    """
    with log.open("w") as errors:
        return subprocess.Popen(
            [str(COMMAND), "run", str(study), "--window", WINDOW, "--json"],
            env=clean_environment(home) | {"PREFECT_API_URL": prefect_server},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, on_sigint),  # noqa: PLW1509 - no threads
        )


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended with the test, whatever becomes of it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for each in processes:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def await_line(log: Path, begins: str, process: subprocess.Popen[str]) -> None:
    """Wait until a line of progress begins so."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(line.startswith(begins) for line in log.read_text().splitlines()):
            return
        assert process.poll() is None, f"ended too early: {log.read_text()}"
        time.sleep(0.02)
    pytest.fail(f"no line {begins!r} in {log.read_text()}")


def await_registered(home: Path, windows: int, process: subprocess.Popen[str]) -> None:
    """Wait until the record holds so many registered windows."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if exists(f"{home}/record/stages"):
            stages = read_record(f"{home}/record", "stages")["stage"].to_pylist()
            if stages.count("register") >= windows:
                return
        assert process.poll() is None, "ended too early"
        time.sleep(0.02)
    pytest.fail(f"no {windows} windows are registered")


def session_members(session: int) -> list[str]:
    """Names of the processes that still live in a session."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            name, rest = (each / "stat").read_text().rsplit(")", 1)
        except (OSError, ValueError):
            continue
        if int(rest.split()[3]) == session and rest.split()[0] != "Z":
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("how", "when"),
    [
        pytest.param(signal.SIGINT, "features 0", marks=pytest.mark.slow),
        (signal.SIGTERM, "crossfit 0"),
    ],
)
def test_an_interrupted_run_is_130_and_goes_on_later(
    tmp_path: Path,
    prefect_server: str,
    started: list[subprocess.Popen[str]],
    how: signal.Signals,
    when: str,
) -> None:
    home = tmp_path / "home"
    write_orders(home)
    study = write_study(tmp_path)
    # SIGTERM must work where SIGINT is ignored: `nohup causeway run ... &`, then kill.
    on_sigint = signal.SIG_DFL if how == signal.SIGINT else signal.SIG_IGN
    process = start(home, study, tmp_path / "log", prefect_server, on_sigint)
    started.append(process)
    await_line(tmp_path / "log", when, process)
    os.kill(process.pid, how)
    out, _ = process.communicate(timeout=60)
    said = (tmp_path / "log").read_text()
    assert process.returncode == 130, said
    found = Ran(process.returncode, out, said).object
    assert (found["status"], found["error"]["code"]) == ("failed", "interrupted")
    assert "Traceback" not in said
    time.sleep(1)
    assert session_members(process.pid) == [], "engines stayed behind"
    again = causeway_in(tmp_path, home, PREFECT_API_URL=prefect_server)(
        "run", str(study), "--window", WINDOW, "--json"
    )
    assert again.code == 0, again.err
    assert again.object["status"] == "computed"
    assert again.object["effects"] == 5


@pytest.mark.slow
def test_two_runs_at_once_compute_once(
    tmp_path: Path, prefect_server: str, started: list[subprocess.Popen[str]]
) -> None:
    home = tmp_path / "home"
    write_orders(home)
    study = write_study(tmp_path)
    both = [
        start(home, study, tmp_path / f"log{number}", prefect_server, signal.SIG_DFL)
        for number in range(2)
    ]
    started += both
    objects = [json.loads(each.communicate(timeout=240)[0]) for each in both]
    assert [each.returncode for each in both] == [0, 0], objects
    assert {each["status"] for each in objects} == {"computed", "already_recorded"}
    for same in ("run_key", "effects_digest", "mlflow"):
        assert objects[0][same] == objects[1][same]
    rows = read_record(f"{home}/record", "effects").to_pylist()
    assert set(Counter(row["effect_id"] for row in rows).values()) == {1}
    stages = read_record(f"{home}/record", "stages").to_pylist()
    assert sorted(row["stage"] for row in stages) == [
        "crossfit", "estimate", "features", "register",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_backfill_is_130_and_keeps_the_windows_that_are_done(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    home, months = tmp_path / "home", prebuilt.MONTHS[:2]
    prebuilt.write_lake(home, months)
    study = prebuilt.write_study(tmp_path)
    prebuilt.prebuild(study, months, prebuilt.place(home))
    command = ("backfill", str(study), "--from", months[0], "--to", months[1], "--json")
    with (tmp_path / "log").open("w") as errors:
        process = subprocess.Popen(
            [str(COMMAND), *command],
            env=clean_environment(home),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
    started.append(process)
    await_registered(home, 1, process)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    said = (tmp_path / "log").read_text()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    found = Ran(process.returncode, out, said).object
    assert found["error"]["code"] == "interrupted"
    again = causeway_in(tmp_path, home)(*command)
    assert again.code == 0, again.err
    assert {each["status"] for each in again.object["windows"]} <= {"computed", "already_recorded"}
    assert again.object["windows"][0]["status"] == "already_recorded"
    rows = read_record(f"{home}/record", "stages").to_pylist()
    assert Counter(row["stage"] for row in rows) == dict.fromkeys(
        ("features", "crossfit", "estimate", "register"), 2
    )
