"""A package measured in a process of its own: estimates, time and peak memory."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from pathlib import Path
from statistics import median

from estimators.errors import PlatformError
from jobs.memory import peak
from jobs.peers.packages import PACKAGES
from jobs.peers.problem import Measured, Problem, as_json, from_json, load, save

_MARK = "causeway-measured:"


def measured(package: str, problem: Problem, folder: Path) -> Measured:
    """Measure a package on a problem.

    Raises
    ------
    PlatformError
        The package failed; its own last words are in the message.
    """
    path = folder / "problem.npz"
    save(problem, path)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.peers.process", package, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode != 0 or not lines:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PlatformError(
            f"{package} could not estimate {problem.effect_id}: {last}",
            code="peer_failed",
            remedy="leave it out of --with, or take a smaller --sample",
        )
    return from_json(lines[-1].removeprefix(_MARK))


def measure(package: str, problem: Problem) -> Measured:
    """Estimate on our predictions, then anew for every seed."""
    peer = PACKAGES[package]()
    theta, se = peer.same(problem)
    before, thetas, seconds = peak(), [], []
    for seed in range(problem.seeds):
        began = time.perf_counter()
        thetas.append(peer.anew(problem, seed)[0])
        seconds.append(time.perf_counter() - began)
    taken = median(seconds) if seconds else 0.0
    return Measured(theta, se, tuple(thetas), taken, (peak() - before) / 1e6, peer.version)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the peers' own; they are not ours to mend
    sys.stdout.write(_MARK + as_json(measure(sys.argv[1], load(Path(sys.argv[2])))) + "\n")
