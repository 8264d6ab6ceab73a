"""A Ray with a GPU by word alone: it shares it out, and only the task finds that none is there."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def promised() -> Iterator[None]:
    """Such a Ray in this process, which has no other."""
    import ray

    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as scratch:
        ray.init(address="local", num_cpus=1, num_gpus=1, include_dashboard=False,
                 _temp_dir=scratch, object_store_memory=100_000_000, log_to_driver=False,
                 logging_level="ERROR")  # fmt: skip
        yield
        ray.shutdown()


def said_by(program: str, home: Path) -> Any:
    """What a program in a process of its own writes on its last line, as JSON.

    Its argument is `home`.
    """
    ran = subprocess.run(
        [sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=False,
        cwd=ROOT, timeout=250,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(home),
             "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
             "RAY_worker_niceness": "0"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
