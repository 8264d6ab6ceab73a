"""One code path from inline to a cluster: the same bytes, and every node had its share."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import on_cluster

pytestmark = [pytest.mark.slow, pytest.mark.engines, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"fit_task", "gram_task"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "base"
    on_cluster.write(folder)
    return folder


@pytest.fixture(scope="module")
def inline(base: Path) -> dict[str, list[str]]:
    copy = base.with_name("inline")
    shutil.copytree(base, copy)
    return on_cluster.digests(copy, None)


def on_nodes(base: Path, cpus: str, *more: str) -> dict[str, Any]:
    """Everything again on nodes with so many CPUs, which want a token of everyone."""
    copy, token = base.with_name(f"nodes-{cpus}{len(more)}"), base.with_name("token")
    shutil.copytree(base, copy)
    token.write_text(secrets.token_hex(32))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.jobs.on_cluster", str(copy), cpus, *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "token",
             "RAY_AUTH_TOKEN_PATH": str(token), "RAY_worker_niceness": "0"},
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("cpus", ["2", "1,1"])
def test_nodes_give_the_bytes_of_inline_and_all_of_them_work(
    base: Path, inline: dict[str, list[str]], cpus: str
) -> None:
    found = on_nodes(base, cpus)
    assert len(found["nodes"]) == len(cpus.split(","))
    assert found["worked"] == dict.fromkeys(TASKS, found["nodes"])
    assert found["digests"] == inline


def test_a_node_that_is_lost_with_its_fits_changes_nothing(
    base: Path, inline: dict[str, list[str]]
) -> None:
    found = on_nodes(base, "1,1", "lose")
    assert found["lost"] >= 2, "no fit ran on the second node"
    assert len(found["nodes"]) == 1
    assert found["digests"] == inline
