"""The sample's windows registered, here or in a process that is killed, and what MLflow holds."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.process
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import register
from jobs.failpoints import VARIABLE
from tests.jobs import record_sample as sample

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

POINTS = (
    "before_parent",
    "after_parent",
    "after_artifacts",
    "between_children",
    "before_finish",
    "after_finish",
    "before_ledger",
    "after_ledger",
)
PROCESSES = multiprocessing.get_context("forkserver")
"""Forks of a process that has loaded everything and started nothing: a second, not ten."""
PROCESSES.set_forkserver_preload(["jobs.register", "jobs.pages.figures", "mlflow", "tests.jobs"])


def registered(recorded: sample.Recorded) -> register.Registered:
    return register.run(recorded.resolved, recorded.estimate, recorded.profile)


def client(home: Path) -> MlflowClient:
    from mlflow import MlflowClient  # after jobs.pages.tracking, which turns telemetry off

    return MlflowClient(tracking_uri=sample.profile(home).mlflow_address)


def runs(home: Path, wanted: str = "") -> list[Run]:
    found = client(home).get_experiment_by_name("rain_delays")
    if found is None:
        return []
    return list(client(home).search_runs([found.experiment_id], wanted))


def parent_of(home: Path, label: str) -> Run:
    (run,) = runs(home, f"tags.kind = 'window' AND tags.window = '{label}'")
    return run


def artifact(home: Path, run: Run, path: str) -> Path:
    return home / "mlflow" / "artifacts" / "rain_delays" / run.info.run_id / "artifacts" / path


def everything(home: Path) -> dict[str, str]:
    """Digest of every table row of the store, of every artifact, and of the ledger."""
    found = {}
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for name in names:
            rows = sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            found[f"table {name}"] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    for place in ("mlflow/artifacts", "record"):
        for path in sorted((home / place).rglob("*")):
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def process(home: Path, answer: Path, point: str = "") -> multiprocessing.process.BaseProcess:
    """Register the sample's window in another process, which dies at `point`."""
    started = PROCESSES.Process(target=_register, args=(home, answer, point))
    started.start()
    return started


def _register(home: Path, answer: Path, point: str) -> None:
    os.environ[VARIABLE] = f"register.{point}"
    found = registered(sample.record(home))
    answer.write_text(f"{found.run_id} {found.stage.status}")
