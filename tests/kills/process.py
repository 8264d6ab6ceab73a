"""A command in a process of its own, forked off one that has everything loaded, and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jobs.failpoints import VARIABLE

_STEERING = ("CAUSEWAY_", "PREFECT_", "MLFLOW_", "RAY_", "SPARK_")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (-9 where it was killed), output and seconds."""

    code: int
    out: str
    err: str
    seconds: float
    session: int

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found = json.loads(self.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found


def load() -> None:
    """Import what a run imports. No engine and no table may be opened: this process forks."""
    import deltalake
    import matplotlib as mpl

    mpl.use("agg")
    import mlflow
    import mlflow.store.tracking.sqlalchemy_store
    import sklearn.linear_model
    import xgboost

    import jobs.pages.figures
    import pipelines.backfill
    import pipelines.cli
    import pipelines.maintain
    import pipelines.windows

    assert all((deltalake, mlflow, sklearn, xgboost, jobs, pipelines))


def command(
    home: Path, arguments: tuple[str, ...], *, point: str = "", after: float | None = None
) -> Ended:
    """Run `causeway ARGUMENTS` in a home, kill it at a fail point or after some seconds.

    What a run kills itself, and what this kills, die by SIGKILL alone: nothing is closed.
    """

    def work() -> int:
        from pipelines.cli import execute

        os.environ["CAUSEWAY_HOME"] = str(home)
        if point:
            os.environ[VARIABLE] = point
        return execute(arguments)

    return fork(work, home.with_name(f"{home.name}.log"), after=after)


def fork(work: Callable[[], int], log: Path, *, after: float | None = None) -> Ended:
    """Run `work` in a fork with a session of its own; SIGKILL after some seconds."""
    out, err = log.with_suffix(".out"), log.with_suffix(".err")
    sys.stdout.flush()
    began = time.monotonic()
    child = os.fork()
    if not child:
        _live(work, out, err)
    code = _await(child, None if after is None else began + after)
    seconds = time.monotonic() - began
    return Ended(code, out.read_text(), err.read_text(), seconds, child)


def _live(work: Callable[[], int], out: Path, err: Path) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        for name in [each for each in os.environ if each.startswith(_STEERING)]:
            del os.environ[name]
        random.seed(os.getpid() ^ time.time_ns())  # temporary names differ from the parent's
        code = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(child: int, deadline: float | None) -> int:
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        time.sleep(0.005)


def survivors(session: int, seconds: float = 10.0) -> int:
    """Processes of a session that still live after a while: engines that a kill left behind."""
    deadline = time.monotonic() + seconds
    while (alive := _members(session)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive


def _members(session: int) -> int:
    count = 0
    for each in Path("/proc").iterdir():
        try:
            fields = (each / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        count += int(fields[3]) == session and fields[0] != "Z"
    return count


def answer(work: Callable[[], Mapping[str, Any]], log: Path) -> dict[str, Any]:
    """What `work` returns in a fork of its own, through JSON."""

    def tell() -> int:
        sys.stdout.write(json.dumps(work()) + "\n")
        return 0

    ended = fork(tell, log)
    assert ended.code == 0, ended.err
    return ended.object
