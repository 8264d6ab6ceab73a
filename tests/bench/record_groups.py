"""How long the record takes to answer for 1,000 groups, with no refit.

``python -m tests.bench.record_groups`` writes ``record_groups.csv``: 300,000 units in 365 clusters
and 1,000 groups, from declared sums (``cells``) and from unit scores (``scores``), with Romano-Wolf
and Holm. ``command`` is the whole command in a process of its own, ``answer`` what it computes
after its imports (reading the record included); the smallest of several repetitions.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from conf.load import load_study
from pipelines import effects
from pipelines.tables import found_text
from tests.bench.gram_world import Table
from tests.jobs import prebuilt
from tests.pipelines.command import COMMAND, clean_environment

ATE = "irm.ate.coupon.spend"
MONTH = "2024-01"


def record(home: Path, units: int, *, declared: bool) -> Path:
    """A recorded study of one effect, with its 1,000 groups declared or merely stored."""
    text = prebuilt.STUDY.replace("age, coupon, spend", "age, depot, coupon, spend")
    text = text.replace("  - {method: plr}\n", "")
    text = text.replace("nuisances: {outcome: linear, treatment: linear}", "nuisances: NONE")
    text = text.replace("NONE", "{outcome: constant, treatment: constant}")
    if declared:
        text = text.replace("estimand: ate}", "estimand: ate, by: [depot]}")
    else:
        text = text.replace("covariates: [age]", "covariates: [age, depot]")
    prebuilt.write_month(home, MONTH, units=units, shops=365)
    file = prebuilt.write_study(home, text)
    place = prebuilt.place(home)
    prebuilt.record(file, MONTH, place.model_copy(update={"ray": _inline(place.ray, units)}))
    return file


def _inline(ray: object, units: int) -> object:
    return ray.model_copy(update={"inline_below": 10 * units})  # type: ignore[attr-defined]


def answer(file: Path, home: Path, adjust: str, contrasts: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor seconds of the answer and its table."""
    question = effects.Question(by=("depot",), contrast=contrasts, effect=("*",), adjust=adjust)  # type: ignore[arg-type]
    loaded = load_study(str(file))
    wall, cpu = time.perf_counter(), time.process_time()
    found = effects.ask(prebuilt.place(home), loaded, question)
    assert len(found.rows) == 1000
    assert len(found.contrasts) == len(contrasts)
    found_text(found, "orders", asked=True)
    return time.perf_counter() - wall, time.process_time() - cpu


def command(file: Path, home: Path, adjust: str, contrasts: tuple[str, ...]) -> tuple[float, float]:
    """Wall and processor seconds of the whole command."""
    asked = ["--by", "depot", "--effect", "*", "--adjust", adjust, "--json"]
    for each in contrasts:
        asked += ["--contrast", each]
    wall, before = time.perf_counter(), os.times()
    subprocess.run(
        [str(COMMAND), "effects", str(file), *asked],
        env=clean_environment(home), stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after = os.times()
    cpu = after.children_user + after.children_system
    return time.perf_counter() - wall, cpu - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    table = Table()
    contrasts = tuple(f"d{i:03d},d{i + 1:03d}" for i in range(50))
    with tempfile.TemporaryDirectory() as folder:
        for declared in (True, False):
            source = "cells" if declared else "scores"
            home = Path(folder) / source
            file = record(home, options.units, declared=declared)
            for adjust in ("romano-wolf", "holm"):
                for name, measure in (("answer", answer), ("command", command)):
                    taken = [measure(file, home, adjust, contrasts) for _ in range(options.repeat)]
                    wall, cpu = np.min(taken, axis=0)
                    note = f"1,000 groups and 50 contrasts from {source}, {adjust}"
                    table.add(f"{name}_wall", options.units, wall, "s", note)
                    table.add(f"{name}_cpu", options.units, cpu, "s", note)
    given = f"--units {options.units} --repeat {options.repeat}"
    table.write("record_groups.csv", f"python -m tests.bench.record_groups {given}")


if __name__ == "__main__":
    main()
