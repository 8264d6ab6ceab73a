"""Kill, run again, compare: a row a kill. Goes on where an earlier call stopped.

``python -m tests.kills`` appends to ``results/kills.csv``; ``--tier prebuilt|engines`` takes one
tier, ``--most 5`` so many kills of it: a trial. A row with ``ok`` False is a fault.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.kills.process import Ended, answer, command, load, survivors
from tests.kills.scenarios import TIERS, Base, Scenario, digests, make
from tests.kills.state import compare, look

RESULTS = Path(__file__).parent / "results" / "kills.csv"
COLUMNS = (
    "tier", "scenario", "kill", "seed", "after_seconds", "killed", "rerun_code", "digests_equal",
    "lost_rows", "double_rows", "orphan_runs", "half_models", "processes_left", "seconds", "ok",
    "error",
)  # fmt: skip
_FAULTS = ("lost_rows", "double_rows", "orphan_runs", "half_models", "processes_left")
_DRAWS = 20


def row(tier: str, scenario: Scenario, base: Base, kill: str) -> dict[str, Any]:
    """One kill and the second run, judged."""
    began = time.monotonic()
    seed = zlib.crc32(f"{tier} {scenario.name} {kill}".encode())
    found: dict[str, Any] = {"tier": tier, "scenario": scenario.name, "kill": kill, "seed": seed}
    home = base.home.with_name("killed")
    after, killed = _kill(scenario, base, kill, random.Random(seed), home)  # noqa: S311 - a moment, no secret
    left = survivors(killed.session)
    again = command(home, scenario.arguments(home.parent))
    found |= {
        "after_seconds": "" if after is None else format(after, ".3f"),
        "killed": killed.code == -9,
        "rerun_code": again.code,
        "processes_left": left,
        "error": "" if again.code == 0 else again.err.strip().replace("\n", " ")[-300:],
    }
    equal = again.code == 0 and digests(again.object) == base.digests
    faults = compare(base.state, answer(lambda: look(home), home.with_name("look.log")))
    found |= {"digests_equal": equal, **faults}
    good = found["killed"] and equal and not any(found[name] for name in _FAULTS)
    shutil.rmtree(home)
    return found | {"seconds": format(time.monotonic() - began, ".1f"), "ok": good}


def _kill(
    scenario: Scenario, base: Base, kill: str, rng: random.Random, home: Path
) -> tuple[float | None, Ended]:
    """A copy of the home in which the command was killed. A run that was faster is drawn anew."""
    for _ in range(_DRAWS):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(base.home, home, symlinks=True)
        timed = kill.startswith("time")
        after = rng.uniform(0.0, base.seconds) if timed else None
        killed = command(
            home, scenario.arguments(home.parent), point="" if timed else kill, after=after
        )
        if killed.code == -9 or not timed:
            break
    return after, killed


def done(path: Path) -> set[tuple[str, str, str]]:
    """Kills that are recorded."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(each["tier"], each["scenario"], each["kill"]) for each in csv.DictReader(file)}


def rows(tiers: Sequence[str], known: set[tuple[str, str, str]], most: int | None) -> Iterator[Any]:
    """Rows of the kills that are missing; after 1 % of a tier it says how long the rest takes."""
    for tier in tiers:
        todo = [
            (scenario, kill)
            for scenario in TIERS[tier]
            for kill in scenario.kills
            if (tier, scenario.name, kill) not in known
        ][:most]
        bases: dict[str, Base] = {}
        with tempfile.TemporaryDirectory(prefix="kills-") as place:
            began = time.monotonic()
            for count, (scenario, kill) in enumerate(todo, 1):
                if scenario.name not in bases:
                    bases[scenario.name] = make(scenario, Path(place, f"of-{scenario.name}"))
                yield row(tier, scenario, bases[scenario.name], kill)
                if count == max(len(todo) // 100, 1):
                    left = (time.monotonic() - began) / count * (len(todo) - count)
                    print(f"{tier}: {count} of {len(todo)} kills; {left / 60:.0f} minutes to go")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=sorted(TIERS), action="append")
    parser.add_argument("--most", type=int, help="at most so many kills of a tier: a trial")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    load()
    new = not options.results.exists()
    bad = 0
    with options.results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for each in rows(options.tier or sorted(TIERS, reverse=True), done(options.results),
                         options.most):  # fmt: skip
            writer.writerow(each)
            file.flush()
            if not each["ok"]:
                bad += 1
                print(json.dumps(each))
    return min(bad, 1)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Arrow's threads
