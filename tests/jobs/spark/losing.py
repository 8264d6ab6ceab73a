"""Features of a window on a Spark cluster that loses an executor meanwhile, as a JSON object.

``python -m tests.jobs.spark.losing HOME MASTER WORKER...``: a home with the visits, the master's
address, and the processes of its workers. Without workers nothing is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from jobs import crossfit, estimate, features
from jobs.resolve import resolve

WINDOW = "2024-02"


def at(home: Path, master: str) -> Profile:
    """The profile of a home on a master; one core an executor, so that all of them work."""
    base = load_profile("local")
    settings = {"spark.sql.shuffle.partitions": "4"}
    if master.startswith("spark://"):
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.memory": "512m",
            "spark.executor.cores": "1",
            "spark.scheduler.minRegisteredResourcesRatio": "1.0",
            "spark.cores.max": "2",
        }
    spark = base.spark.model_copy(update={"master": master, "memory": "1g", "settings": settings})
    return base.model_copy(update={"home": home, "spark": spark})


def executors(workers: Sequence[int]) -> list[int]:
    """Processes of the workers' executors."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (each / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if int(parent) in workers and b"ExecutorBackend" in (each / "cmdline").read_bytes():
                found.append(int(each.name))
    return found


def kill(workers: Sequence[int], killed: list[dict[str, Any]]) -> None:
    """Kill one executor while each of them has a task of one stage."""
    deadline = time.monotonic() + 200
    while not killed and time.monotonic() < deadline:
        time.sleep(0.005)
        with suppress(Exception):  # no session yet, or the stage has just ended
            busy = active()
            if busy >= len(workers):
                (victim, *_) = executors(workers)
                os.kill(victim, signal.SIGKILL)
                killed.append({"executor": victim, "active": busy})


def active() -> int:
    """Tasks that run now."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    tracker = context.statusTracker()
    stages = [tracker.getStageInfo(each) for each in tracker.getActiveStageIds()]
    return sum(each.numActiveTasks for each in stages if each is not None)


def main(home: Path, master: str, workers: Sequence[int]) -> dict[str, Any]:
    """Build, fit, estimate; digests of the three, and what was killed."""
    loaded = load_study(str(home / "visits.yaml"))
    profile = at(home, master)
    resolved = resolve(loaded, parse_span(WINDOW, loaded.study.window), profile)
    killed: list[dict[str, Any]] = []
    if workers:
        threading.Thread(target=kill, args=(workers, killed), daemon=True).start()
    built = features.build(resolved, profile)
    fitted = crossfit.run(resolved, built, profile)
    found = estimate.run(resolved, fitted, profile)
    return {"killed": killed, "digests": [built.digest, fitted.digest, found.digest]}


if __name__ == "__main__":
    answer = main(Path(sys.argv[1]), sys.argv[2], [int(each) for each in sys.argv[3:]])
    print(json.dumps(answer), flush=True)
    os._exit(0)
