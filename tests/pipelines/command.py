"""The command as a user runs it: a process of its own, a home of its own, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails where there is anything else."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"not one line on stdout: {self.out!r}; stderr: {self.err}"
        found = json.loads(lines[0])
        assert isinstance(found, dict)
        return found


Causeway = Callable[..., Ran]


COMMAND = Path(sys.prefix) / "bin" / "causeway"
_STEERING = ("CAUSEWAY_", "PREFECT_", "MLFLOW_", "RAY_", "SPARK_")


def clean_environment(home: Path) -> dict[str, str]:
    """The caller's environment without anything that steers Causeway or its engines."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
    return kept | {"CAUSEWAY_HOME": str(home)}


def causeway_in(folder: Path, home: Path, **always: str) -> Causeway:
    """How to run `causeway ARGUMENTS` in a folder; an empty setting unsets a variable."""

    def run(*arguments: str, timeout: float = 240, **settings: str) -> Ran:
        given = clean_environment(home) | always | settings
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=folder,
            env={name: value for name, value in given.items() if value},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
