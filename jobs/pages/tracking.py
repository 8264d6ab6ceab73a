"""The MLflow store of a profile: opened once at a time, and at home wherever the home lies."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from conf.profile import Profile
from estimators.errors import PlatformError, Where
from jobs.failpoints import reach

if TYPE_CHECKING:
    from mlflow import MlflowClient  # after telemetry is off; 2 s that `ui` saves

# MLflow reads it when it is loaded, and takes no other value than "true" (of DO_NOT_TRACK too).
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

_SQLITE = "sqlite:///"
_SERVERS = ("http", "https", "databricks")
_PART = "/mlflow/artifacts"


def artifact_root(profile: Profile) -> Path:
    """Where a local store keeps its artifacts."""
    return profile.home / "mlflow" / "artifacts"


def database(profile: Profile) -> Path | None:
    """File of a SQLite store; None where the store is a server or another database."""
    address = profile.mlflow_address
    return Path(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else None


def is_server(profile: Profile) -> bool:
    """Whether a server keeps the artifacts; beside a database they lie in the home."""
    return urlsplit(profile.mlflow_address).scheme in _SERVERS


@contextmanager
def store(profile: Profile) -> Iterator[MlflowClient]:
    """Open the store for writing, alone among the processes that share this home.

    A fresh SQLite file is made once, under the lock (several processes that touch it at once break
    its migration), and under another name until it is whole: a crash leaves no half of it. Where
    the home was moved or copied, the artifact root is rewritten.

    Raises
    ------
    PlatformError
        The store cannot be opened (``mlflow_store``).
    """
    folder = profile.home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "register.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _client(profile)


def _client(profile: Profile) -> MlflowClient:
    from mlflow import MlflowClient  # 2 s to load, which `ui` saves
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):  # the first migration logs forty steps
        logging.getLogger(name).setLevel(logging.WARNING)
    file = database(profile)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        if file is not None and not file.exists():
            _create(file, artifact_root(profile))
        client = MlflowClient(
            tracking_uri=profile.mlflow_address, registry_uri=profile.mlflow_address
        )
        client.search_experiments(max_results=1)
        relocate(profile)
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        shown = str(file or without_password(profile.mlflow_address))
        reason = str(error).replace(profile.mlflow_address, shown).partition("\n[SQL: ")[0]
        raise PlatformError(
            f"the MLflow store cannot be opened: {reason}",
            code="mlflow_store",
            where=Where(file=shown),
            remedy="check `mlflow_uri` of the profile, that the disk is not full and, for a server"
            " with log-in, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; a broken file may"
            " be moved away: a recorded window that is run again is written anew",
        ) from error
    return client


def _create(file: Path, artifacts: Path) -> None:
    """Make an empty store, whole or not at all: MLflow takes forty migrations, each a commit."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = file.with_name(f"{file.name}.partial")
    for left in file.parent.glob(f"{partial.name}*"):  # by a crash, with SQLite's journal
        left.unlink()
    made = SqlAlchemyStore(f"{_SQLITE}{partial}", artifacts.as_uri())
    made.engine.dispose()
    reach("register.before_store")
    partial.replace(file)


def without_password(address: str) -> str:
    """An address as it may be shown: without user and password."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def relocate(profile: Profile) -> int:
    """Rewrite the artifact root of a SQLite store whose home was moved or copied.

    MLflow stores absolute URIs in each experiment, run and model. A root ends in
    ``/mlflow/artifacts`` by the layout of the home, so the rest of a URI is what follows that; the
    built-in experiment, which MLflow places in the working directory, is brought in too. A server
    or another database is not touched: its artifacts do not lie under the home.

    Returns
    -------
    int
        Experiments that were rewritten.
    """
    file = database(profile)
    if file is None or not file.exists():
        return 0
    root = artifact_root(profile).as_uri()
    moved = 0
    with closing(sqlite3.connect(file, timeout=60)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return 0
        rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments")
        for experiment, location in rows.fetchall():
            target = _target(experiment, location or "", root)
            if target is not None and target != location:
                _move(connection, tables, experiment, location, target)
                moved += 1
    return moved


def _target(experiment: int, location: str, root: str) -> str | None:
    """Where an experiment's artifacts lie under `root`; None where they are not ours to move."""
    if experiment == 0:
        return f"{root}/0"
    if not location.startswith(("file:", "/")) or _PART not in location:
        return None
    return root + location.rpartition(_PART)[2]


def _move(
    connection: sqlite3.Connection, tables: set[str], experiment: int, old: str, new: str
) -> None:
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment)
    )
    places = [("runs", "artifact_uri"), ("logged_models", "artifact_location")]
    places += [("model_versions", column) for column in ("source", "storage_location")]
    for table, column in places:
        if table in tables:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608 (our names)
                f" WHERE substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old) + 1, f"{old}/"),
            )


def is_finished(profile: Profile, run_id: str) -> bool:
    """Whether a SQLite store holds this run, finished and not deleted. Does not load MLflow.

    Other stores answer False: they are asked through MLflow.
    """
    file = database(profile)
    if file is None or not file.exists():
        return False
    query = (
        "SELECT 1 FROM runs JOIN experiments USING (experiment_id) WHERE run_uuid = ?"
        " AND status = 'FINISHED' AND runs.lifecycle_stage = 'active'"
        " AND experiments.lifecycle_stage = 'active'"
    )
    try:
        relocate(profile)
        with closing(sqlite3.connect(file, timeout=60)) as connection:
            return connection.execute(query, (run_id,)).fetchone() is not None
    except sqlite3.DatabaseError:  # no tables of MLflow's, or no database: MLflow says what it is
        return False
