"""The crossfit stage on the Gram engine, from committed feature files: memory, time, reuse.

``python -m tests.bench.gram_pipeline --rows 1000000 10000000`` writes ``gram_pipeline.csv``. The
features (50 covariates, 5 treatments, 20 outcomes) are committed with delta-rs in files of a
million rows, as Spark would leave them; making them is not timed. Each run is a process of its own,
so that its peak memory is its own: the largest resident set of the process, threads inline.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from jobs import crossfit, estimate, ledger, memory
from jobs.estimate import read_effects
from jobs.gram import compute
from jobs.lake import open_table
from jobs.ledger import Stage
from jobs.resolve import Resolved, resolve
from tests.bench.gram_world import (
    FOLDS,
    OUTCOMES,
    TREATMENTS,
    Table,
    bucket_rows,
    matrices,
    timed,
)

FILE = 1_000_000
DAYS = 30
START = datetime(2024, 3, 1, tzinfo=UTC)


def study(segments: int, slice_days: int) -> str:
    learner = f"{{learner: gram, segments: {segments}, slice_days: {slice_days}}}"
    listed = {
        "treatments": ", ".join(f"t{j}: continuous" for j in range(TREATMENTS)),
        "outcomes": ", ".join(f"y{m}: continuous" for m in range(OUTCOMES)),
        "covariates": ", ".join(f"x{j}" for j in range(50)),
    }
    columns = [f"x{j}" for j in range(50)] + [f"t{j}" for j in range(TREATMENTS)]
    columns += [f"y{m}" for m in range(OUTCOMES)]
    selected = f"SELECT id, at, {', '.join(columns)} FROM rows"  # noqa: S608  made of own names
    return (
        'study: bench\nsources:\n  rows: {table: "{lake}/rows", event_time: at}\n'
        f"units:\n  sql: {selected}\n  id: id\n  time: at\n"
        f"treatments: {{{listed['treatments']}}}\noutcomes: {{{listed['outcomes']}}}\n"
        f"covariates: [{listed['covariates']}]\nfolds: {{k: {FOLDS}}}\n"
        f"nuisances: {{outcome: {learner}, treatment: {learner}}}\n"
        "effects: [{method: plr, marginal: true}]\nchecks: [nuisance_quality]\n"
    )


def place(home: Path, workers: int) -> Profile:
    base = load_profile("local")
    ray = base.ray.model_copy(update={"inline_below": 10**12, "num_cpus": workers})
    return base.model_copy(update={"home": home, "ray": ray})


def window(home: Path, workers: int) -> tuple[Resolved, Profile, str]:
    profile, loaded = place(home, workers), load_study(str(home / "bench.yaml"))
    found = resolve(loaded, parse_span(None, loaded.study.window), profile, {})
    pins = {name: (each.table_id, each.version) for name, each in found.pins.items()}
    return found, profile, features_key(loaded.study, found.span, pins)


def commit(home: Path, n: int, days: range) -> None:
    """Commit a source's new version, and features of it: rows of some days, spread evenly."""
    source = pa.table({"id": ["a"], "at": pa.array([START], pa.timestamp("us", tz="UTC"))})
    write_deltalake(str(home / "lake" / "rows"), source, mode="append")
    found, profile, key = window(home, 1)
    path = f"{profile.features_root}/bench"
    for part, first in enumerate(range(0, n, FILE)):
        write_deltalake(path, _file(key, part, min(FILE, n - first), days), mode="append",
                        partition_by=["features_key"])  # fmt: skip
    stage = Stage(
        "features", "computed", key, "features/bench", open_table(path).version(), n, 0.0,
        f"{n} rows of {days}", {"clusters": n, "window": found.span.label},
    )  # fmt: skip
    ledger.commit(
        profile.record_root, stage, study="bench", window=(found.span.start, found.span.end),
        sources=found.sources, numerics=numerics_label(), platform=platform_label(),
    )  # fmt: skip


def _file(key: str, part: int, n: int, days: range) -> pa.Table:
    """A file's rows: those of a day are the same whichever days are asked for."""
    tables = []
    for day in days:
        size = n // DAYS
        rows = bucket_rows(size, part, 12, seed=day)
        at = pa.array([START + timedelta(days=day, hours=5)] * size, pa.timestamp("us", tz="UTC"))
        fold = pa.array(rows.fold.astype(np.int32))
        columns = {
            "features_key": pa.repeat(key, size),
            "unit_id": pa.array([f"{part:03d}-{day:02d}-{i:06d}" for i in range(size)]),
            "cluster_id": pa.nulls(size, pa.string()),
            "unit_time": at,
            "weight": rows.weight,
            "fold": pa.FixedSizeListArray.from_arrays(fold, 1).cast(pa.list_(pa.int32())),
        }
        columns |= {**rows.covariates, **rows.treatments, **rows.outcomes}
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def one(home: Path, workers: int) -> dict[str, float]:
    """The stage, and the effects from its sums."""
    found, profile, key = window(home, workers)
    built = ledger.find(profile.record_root, "features", key)
    assert built is not None
    walks: list[float] = []
    tables = compute.moments_table

    def noted(*given: Any) -> pa.Table:
        walks.append(_peak())
        return tables(*given)

    compute.moments_table = noted  # the first of the record's tables: both walks are over
    with timed() as fits:
        stage = crossfit.run(found, built, profile)
    assert stage.status == "computed"
    peak = _peak()
    with timed() as sums:
        done = estimate.run(found, stage, profile)
    rows = read_effects(profile.record_root, done.key)
    truth = {"t0": 1.0, "t1": -0.5, "t2": 0.25}
    near = [abs(each["theta"] - truth.get(each["treatment"], 0.0)) / each["se"] for each in rows]
    detail, table = stage.detail or {}, Path(profile.record_root, "gram_partials")
    return {
        "peak": peak,
        "peak_of_walks": walks[0],
        "peak_with_estimate": _peak(),
        "crossfit_wall": fits.wall,
        "crossfit_cpu": fits.cpu,
        "estimate_wall": sums.wall,
        "estimate_cpu": sums.cpu,
        "effects": len(rows),
        "rows": built.rows,
        "near": max(near),
        "blocks": detail["gram"]["blocks"],
        "partials": sum(each.stat().st_size for each in table.glob("*.parquet")) / 1e6,
    }


def _peak() -> float:
    """Largest resident set of this process so far, MiB."""
    return memory.peak() / 2**20


def alone(home: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.gram_pipeline", "--alone", str(home)]
    answer = subprocess.run(
        [*command, "--workers", str(workers)], check=True, capture_output=True, text=True
    )
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def measure(table: Table, n: int, options: argparse.Namespace, first: dict[str, float]) -> None:
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=options.scratch))
    try:
        (home / "bench.yaml").write_text(study(options.segments, options.slice_days))
        commit(home, n, range(DAYS - 1))
        found = alone(home, options.workers)
        first.update({} if first else found)
        rows = int(found["rows"])
        note = f"{options.workers} threads, {found['blocks']:.0f} blocks"
        table.add("peak_memory_of_both_walks", rows, found["peak_of_walks"], "MiB", "before tables")
        growth = found["peak_of_walks"] / first["peak_of_walks"]
        table.add("peak_memory_of_both_walks_over_first", rows, growth, "x")
        table.add("peak_memory", rows, found["peak"], "MiB", note)
        table.add("peak_memory_with_estimate", rows, found["peak_with_estimate"], "MiB", note)
        table.add("peak_memory_over_first", rows, found["peak"] / first["peak"], "x")
        for name in ("crossfit_wall", "crossfit_cpu", "estimate_wall", "estimate_cpu"):
            table.add(name, rows, found[name], "s", f"{found['effects']:.0f} effects with HC0")
        growth = found["crossfit_cpu"] / first["crossfit_cpu"] * first["rows"] / rows
        table.add("crossfit_cpu_over_linear", rows, growth, "x", "1 is linear from the first")
        table.add("partials_on_disk", rows, found["partials"], "MB")
        table.add("largest_error_over_se", rows, found["near"], "se", "all effects, known truth")
        if options.peer_rows:
            peer(table, rows, found["crossfit_cpu"] + found["estimate_cpu"], options)
        if n <= options.reuse_up_to:
            commit(home, n, range(DAYS))
            again = alone(home, options.workers)
            per_row = again["crossfit_cpu"] / again["rows"] / found["crossfit_cpu"] * found["rows"]
            note = f"{DAYS - 1} of {DAYS} days from the table"
            table.add(
                "crossfit_cpu_with_a_new_day", int(again["rows"]), again["crossfit_cpu"], "s", note
            )
            table.add(
                "cpu_a_row_with_a_new_day_over_scratch", int(again["rows"]), per_row, "x", note
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def peer(table: Table, rows: int, own: float, options: argparse.Namespace) -> None:
    """One pair in EconML, with the same learner class; the loop over all pairs is extrapolated."""
    from tests.bench.gram_many_effects import PAIRS, econml_fit  # its memory is not ours

    batch = bucket_rows(options.peer_rows, 0, 0)
    x, d, y = matrices(batch)
    timing, _ = econml_fit(x, d[:, 0], y[:, 0], options.segments)
    table.add("econml_one_pair_cpu", options.peer_rows, timing.cpu, "s", "one BLAS thread")
    ratio = PAIRS * timing.cpu * rows / options.peer_rows / own
    note = f"crossfit and estimate stage; one pair at {options.peer_rows} rows, extrapolated"
    table.add("speedup_over_looped_econml_cpu", rows, ratio, "x", note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--segments", type=int, default=2)
    parser.add_argument("--slice-days", type=int, default=1)
    parser.add_argument("--reuse-up-to", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=0)
    parser.add_argument("--scratch", default=None)
    parser.add_argument("--out", default="gram_pipeline.csv")
    parser.add_argument("--alone", default="")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(one(Path(options.alone), options.workers)), flush=True)
        os._exit(0)  # as the command leaves: Arrow's readers may abort a slower end
    table, first = Table(), dict[str, float]()
    sizes = " ".join(str(n) for n in options.rows)
    for n in options.rows:
        measure(table, n, options, first)
        table.write(
            options.out,
            f"python -m tests.bench.gram_pipeline --rows {sizes} --segments {options.segments} "
            f"--slice-days {options.slice_days} --reuse-up-to {options.reuse_up_to} "
            f"--peer-rows {options.peer_rows}",
        )


if __name__ == "__main__":
    main()
