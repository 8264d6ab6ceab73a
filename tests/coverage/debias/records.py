"""Repetitions as committed rows: seeds by spawning, resumable, a failed repetition is a row too."""

from __future__ import annotations

import csv
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy

RESULTS = Path(__file__).parent / "results"


def collect(
    name: str,
    config: Mapping[str, Any],
    columns: Sequence[str],
    total: int,
    one: Callable[[int, np.random.SeedSequence], Mapping[str, Any]],
) -> Path:
    """Run the missing repetitions of 0..total-1 and append each as a row of `name`.csv.

    Repetition i draws from the i-th child of ``SeedSequence(config["seed"])``, whichever run
    computes it. Rows of another config are refused.
    """
    RESULTS.mkdir(exist_ok=True)
    path, about = RESULTS / f"{name}.csv", RESULTS / f"{name}.json"
    header = ["repetition", *columns, "error"]
    done = _resume(path, about, config)
    seeds = np.random.SeedSequence(config["seed"]).spawn(total)
    missing = [i for i in range(total) if i not in done]
    started = time.process_time()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        if not done:
            writer.writeheader()
        for count, i in enumerate(missing, 1):
            try:
                found: Mapping[str, Any] = one(i, seeds[i])
                row = {"error": ""} | {key: _text(value) for key, value in found.items()}
            except Exception as error:
                row = {"error": f"{type(error).__name__}: {error}".replace("\n", " ")}
            writer.writerow({"repetition": i} | row)
            file.flush()
            if count == max(1, len(missing) // 100):
                used = time.process_time() - started
                print(f"{name}: {used / count * len(missing):.0f} s of CPU projected", flush=True)
    used = time.process_time() - started
    about.write_text(json.dumps(_about(config, total, used, about), indent=1) + "\n")
    return path


def _resume(path: Path, about: Path, config: Mapping[str, Any]) -> set[int]:
    if about.exists() and json.loads(about.read_text())["config"] != dict(config):
        raise SystemExit(f"{about.name} holds another config: remove it and {path.name} to restart")
    if not about.exists():
        about.write_text(json.dumps({"config": dict(config)}, indent=1) + "\n")
    return {int(row["repetition"]) for row in read(path)} if path.exists() else set()


def _about(config: Mapping[str, Any], total: int, used: float, about: Path) -> dict[str, Any]:
    before = json.loads(about.read_text()).get("cpu_seconds", 0.0)
    return {
        "config": dict(config),
        "repetitions": total,
        "command": " ".join(
            ["python -m", "tests.coverage.debias." + Path(sys.argv[0]).stem, *sys.argv[1:]]
        ),
        "cpu_seconds": round(before + used, 1),
        "versions": {"python": platform.python_version(), "numpy": np.__version__,
                     "scipy": scipy.__version__},
    }  # fmt: skip


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else value


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a result file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
