"""The committed features that the Gram pipeline is measured on, written as a stream.

50 covariates, 5 treatments, 20 outcomes, in files of a million rows, day after day in each, as
Spark would leave a window of days. A batch of a day is in memory at a time. With a grid, values are
rounded to its steps, as most measured columns are: files of 50 M rows then take 9 GB, not 31.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import WriterProperties, write_deltalake

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from jobs import ledger
from jobs.lake import open_table
from jobs.ledger import Stage
from jobs.resolve import Resolved, resolve
from tests.bench.gram_world import FOLDS, OUTCOMES, TREATMENTS, bucket_rows

FILE = 1_000_000
ROW_GROUP = 250_000
DAYS = 30
START = datetime(2024, 3, 1, tzinfo=UTC)
_KEPT = "record.features"


def study(segments: int, slice_days: int, method: str) -> str:
    """The study: every pair's marginal effect by ``plr``, or the ATE of binary ones by ``irm``."""
    kind, effect = {
        "plr": ("continuous", "{method: plr, marginal: true}"),
        "irm": ("binary", "{method: irm, estimand: ate}"),
    }[method]
    learner = f"{{learner: gram, segments: {segments}, slice_days: {slice_days}}}"
    listed = {
        "treatments": ", ".join(f"t{j}: {kind}" for j in range(TREATMENTS)),
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
        f"effects: [{effect}]\nchecks: [nuisance_quality]\n"
    )


def place(home: Path, workers: int) -> Profile:
    """The local profile with its home there, and threads instead of Ray."""
    base = load_profile("local")
    ray = base.ray.model_copy(update={"inline_below": 10**12, "num_cpus": workers})
    return base.model_copy(update={"home": home, "ray": ray})


def window(home: Path, workers: int) -> tuple[Resolved, Profile, str]:
    """The study's window as its sources are now, and the key of its features."""
    profile, loaded = place(home, workers), load_study(str(home / "bench.yaml"))
    found = resolve(loaded, parse_span(None, loaded.study.window), profile, {})
    pins = {name: (each.table_id, each.version) for name, each in found.pins.items()}
    return found, profile, features_key(loaded.study, found.span, pins)


def prepare(home: Path, n: int, text: str, grid: int, *, binary: bool) -> None:
    """Make a home with committed features, or take the one that is there as it was made."""
    if (home / _KEPT).exists():
        shutil.rmtree(home / "record")
    else:
        shutil.rmtree(home, ignore_errors=True)  # one that was not finished
        home.mkdir(parents=True)
        (home / "bench.yaml").write_text(text)
        commit(home, n, range(DAYS - 1), grid, binary=binary)
        shutil.move(home / "record", home / _KEPT)
    (home / "bench.yaml").write_text(text)
    shutil.copytree(home / _KEPT, home / "record")


def commit(home: Path, n: int, days: range, grid: int, *, binary: bool) -> None:
    """Commit a source's new version, and features of it: rows of some days, spread evenly."""
    source = pa.table({"id": ["a"], "at": pa.array([START], pa.timestamp("us", tz="UTC"))})
    write_deltalake(str(home / "lake" / "rows"), source, mode="append")
    found, profile, key = window(home, 1)
    path = f"{profile.features_root}/bench"
    written = 0
    for part, first in enumerate(range(0, n, FILE)):
        size = min(FILE, n - first) // DAYS
        stream = _stream(key, part, size, days, grid, binary=binary)
        write_deltalake(
            path, pa.RecordBatchReader.from_batches(next(stream).schema, stream), mode="append",
            partition_by=["features_key"],
            writer_properties=WriterProperties(max_row_group_size=ROW_GROUP),
        )  # fmt: skip
        written += size * len(days)
        print(f"features: {written:,} of {n:,} rows", file=sys.stderr, flush=True)
    stage = Stage(
        "features", "computed", key, "features/bench", open_table(path).version(), written, 0.0,
        f"{written} rows of {days}, grid {grid}",
        {"clusters": written, "window": found.span.label},
    )  # fmt: skip
    ledger.commit(
        profile.record_root, stage, study="bench", window=(found.span.start, found.span.end),
        sources=found.sources, numerics=numerics_label(), platform=platform_label(),
    )  # fmt: skip


def _stream(
    key: str, part: int, size: int, days: range, grid: int, *, binary: bool
) -> Iterator[pa.RecordBatch]:
    """An empty batch for the schema, then a file's rows: a day's are the same whatever is asked."""
    yield _day(key, part, 0, days[0], grid, binary=binary)
    for day in days:
        yield _day(key, part, size, day, grid, binary=binary)


def _day(key: str, part: int, size: int, day: int, grid: int, *, binary: bool) -> pa.RecordBatch:
    rows = bucket_rows(size, part, 12, seed=day)
    at = pa.array([START + timedelta(days=day, hours=5)] * size, pa.timestamp("us", tz="UTC"))
    fold = pa.array(rows.fold.astype(np.int32))
    columns = {
        "features_key": pa.repeat(key, size),
        "unit_id": pa.array([f"{part:03d}-{day:02d}-{i:06d}" for i in range(size)], pa.string()),
        "cluster_id": pa.nulls(size, pa.string()),
        "unit_time": at,
        "weight": rows.weight,
        "fold": pa.FixedSizeListArray.from_arrays(fold, 1).cast(pa.list_(pa.int32())),
    }
    for name, values in {**rows.covariates, **rows.treatments, **rows.outcomes}.items():
        columns[name] = np.round(values * grid) / grid if grid else values
    if binary:
        columns |= {name: (values > 0.0).astype(float) for name, values in rows.treatments.items()}
    return pa.RecordBatch.from_pydict(columns)
