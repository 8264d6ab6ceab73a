"""SIGKILL at every commit boundary, then a re-run: one digest, no double row, one MLflow run."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.lake import read_record
from tests.kills.scenarios import STAGES, STORE
from tests.pipelines.command import Ran, causeway_in
from tests.pipelines.small_study import WINDOW, write_orders, write_study

pytestmark = pytest.mark.engines

TABLES = ("effects", "checks", "stages", "cells", "moments", "tallies", "scores")
QUICK = ("crossfit.after_cells",)
POINTS = ("features.before_ledger", *STORE, *STAGES)


@dataclass(frozen=True, slots=True)
class Base:
    """A home killed before cross-fitting, to copy, and what an undisturbed run gives.

    Attributes
    ----------
    fresh
        Home with the sources only.
    featured
        Home with the features committed: no Spark is needed from here on.
    """

    folder: Path
    study: Path
    server: str
    fresh: Path
    featured: Path
    expected: dict[str, Any]
    rows: dict[str, int]
    mlflow: Counter[str]


def run(folder: Path, home: Path, study: Path, server: str, failpoint: str = "") -> Ran:
    causeway = causeway_in(folder, home, PREFECT_API_URL=server, CAUSEWAY_FAILPOINT=failpoint)
    return causeway("run", str(study), "--window", WINDOW, "--json")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Base:
    folder = tmp_path_factory.mktemp("kills")
    study = write_study(folder)
    fresh, featured, whole = (folder / name for name in ("fresh", "featured", "whole"))
    write_orders(fresh)
    shutil.copytree(fresh, featured)  # the same table: its id and version are in the keys
    killed = run(folder, featured, study, prefect_server, "crossfit.before_moments")
    assert killed.code == -9, killed.err
    shutil.copytree(featured, whole)
    undisturbed = run(folder, whole, study, prefect_server)
    assert undisturbed.code == 0, undisturbed.err
    return Base(
        folder, study, prefect_server, fresh, featured, undisturbed.object, counts(whole),
        registered(whole),
    )  # fmt: skip


def counts(home: Path) -> dict[str, int]:
    return {name: read_record(f"{home}/record", name).num_rows for name in TABLES}


def registered(home: Path) -> Counter[str]:
    """Active runs in MLflow by kind and state."""
    query = """
        SELECT tags.value, runs.status FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
        WHERE runs.lifecycle_stage = 'active' AND tags.key = 'kind'
    """
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as store:
        return Counter(f"{kind} {status}" for kind, status in store.execute(query))


@pytest.mark.parametrize(
    "point",
    [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in POINTS],
)
def test_a_kill_there_and_a_run_again_give_the_same(base: Base, point: str) -> None:
    home = base.folder / point
    origin = base.fresh if point.startswith("features") else base.featured
    shutil.copytree(origin, home)
    killed = run(base.folder, home, base.study, base.server, point)
    assert killed.code == -9, f"{point} was not reached: {killed.err}"
    assert killed.out == ""
    again = run(base.folder, home, base.study, base.server)
    assert again.code == 0, again.err
    for same in ("run_key", "effects_digest", "effects", "checks", "gates"):
        assert again.object[same] == base.expected[same], same
    assert counts(home) == base.rows
    assert registered(home) == base.mlflow
    assert registered(home)["window FINISHED"] == 1
    rows = read_record(f"{home}/record", "effects").to_pylist()
    assert max(Counter((row["run_key"], row["effect_id"]) for row in rows).values()) == 1
    shutil.rmtree(home)
