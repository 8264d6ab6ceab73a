"""What a home holds, but for clocks and random names: two homes are equal or they are not."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from jobs.contracts import RECORD
from jobs.lake import read_record

_VOLATILE = ("recorded_at", "seconds", "version")
_NOT_RESULTS = ("backfills", "erasures")
"""A second run plans what is left anew: its plan is another row, by intention."""

State = dict[str, dict[str, int]]


def look(home: Path) -> State:
    """Rows of the record, runs and models of MLflow, each with how often it is there."""
    found = {"rows": _rows(home), "runs": {}, "models": {}}
    database = home / "mlflow" / "mlflow.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as store:
            found["runs"] = _runs(store) | _folders(store, home)
            found["models"] = _models(store)
    return found


def _rows(home: Path) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for table in RECORD:
        if table in _NOT_RESULTS:
            continue
        for row in read_record(f"{home}/record", table).to_pylist():
            counts[f"{table} {_digest(row)}"] += 1
    return dict(counts)


def _digest(row: dict[str, Any]) -> str:
    """Digest of a row; the ledger's row of a registration names a run by its random id."""
    hidden = (*_VOLATILE, "detail") if row.get("stage") == "register" else _VOLATILE
    kept = {name: value for name, value in sorted(row.items()) if name not in hidden}
    names = [str(kept.get(name)) for name in ("stage", "window_start", "effect_id", "check")]
    return " ".join([*names, hashlib.sha256(repr(kept).encode()).hexdigest()[:16]])


def _runs(store: sqlite3.Connection) -> dict[str, int]:
    """Active runs; one that is not FINISHED is nowhere in the expected state."""
    query = """
        SELECT runs.name, runs.status, kind.value, key.value, old.value FROM runs
        LEFT JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = 'kind'
        LEFT JOIN tags AS key ON key.run_uuid = runs.run_uuid AND key.key = 'run_key'
        LEFT JOIN tags AS old ON old.run_uuid = runs.run_uuid AND old.key = 'superseded'
        WHERE runs.lifecycle_stage = 'active'
    """
    return dict(Counter(" ".join(map(str, row)) for row in store.execute(query)))


def _folders(store: sqlite3.Connection, home: Path) -> dict[str, int]:
    """Artifact folders that belong to no active run."""
    active = {run for (run,) in store.execute(
        "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'")}  # fmt: skip
    root = home / "mlflow" / "artifacts"
    lost = [each.name for each in root.glob("*/*") if each.is_dir() and each.name not in active]
    return {"artifacts of no run": len(lost)} if lost else {}


def _models(store: sqlite3.Connection) -> dict[str, int]:
    query = """
        SELECT model_versions.name, tags.value, model_versions.version, model_versions.source
        FROM model_versions LEFT JOIN model_version_tags AS tags
        ON tags.name = model_versions.name AND tags.version = model_versions.version
        AND tags.key = 'run_key' WHERE model_versions.current_stage != 'Deleted_Internal'
    """
    counts: Counter[str] = Counter()
    keys = {}
    for name, key, version, source in store.execute(query):
        whole = (Path(unquote(urlparse(source).path)) / "MLmodel").exists()
        counts[f"version {name} {key} {'whole' if whole else 'without files'}"] += 1
        keys[name, version] = key
    for name, alias, version in store.execute(
        "SELECT name, alias, version FROM registered_model_aliases"
    ):
        counts[f"alias {name} {alias} {keys.get((name, version))}"] += 1
    for (name,) in store.execute("SELECT name FROM registered_models"):
        counts[f"model {name}"] += 1
    return dict(counts)


def compare(expected: State, found: State) -> dict[str, int]:
    """Rows lost and doubled, runs that should not be or are missing, models half registered."""
    lost, more = _differences(expected["rows"], found["rows"])
    return {
        "lost_rows": lost,
        "double_rows": more,
        "orphan_runs": sum(_differences(expected["runs"], found["runs"])),
        "half_models": sum(_differences(expected["models"], found["models"])),
    }


def _differences(expected: dict[str, int], found: dict[str, int]) -> tuple[int, int]:
    wanted, there = Counter(expected), Counter(found)
    return (wanted - there).total(), (there - wanted).total()
