"""The rows that the Gram benchmarks run on, bucket by bucket, from seeds."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from estimators.gram.blas import Doubles
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout, lay_out
from estimators.gram.pinning import Choice, pin

COVARIATES, TREATMENTS, OUTCOMES, FOLDS = 50, 5, 20, 5
HERE = Path(__file__).parent


def bucket_rows(n: int, bucket: int, depth: int, *, seed: int = 0) -> Rows:
    """Rows of one bucket, in no order: curved confounding, theta = 1, -0.5, 0.25, 0, 0."""
    draw = np.random.default_rng([seed, depth, bucket])
    x = draw.standard_normal((COVARIATES, n))
    curve = np.sin(x[0]) + 0.5 * np.cos(x[1]) + 0.5 * x[2]
    d = draw.standard_normal((TREATMENTS, n)) + 0.5 * curve
    y = draw.standard_normal((OUTCOMES, n)) + curve
    y += d[0] - 0.5 * d[1] + 0.25 * d[2]
    unit = draw.integers(0, 2**64, n, dtype=np.uint64)
    low = np.uint64(64 - depth)
    place = (unit >> np.uint64(depth)) | (np.uint64(bucket) << low) if depth else unit
    return Rows(
        {f"x{j}": row for j, row in enumerate(x)},
        {f"t{j}": row for j, row in enumerate(d)},
        {f"y{m}": row for m, row in enumerate(y)},
        np.ones(n),
        (unit % np.uint64(FOLDS)).astype(np.int16),
        unit,
        place,
    )


def reader(n: int, depth: int) -> tuple[Sequence[int], Callable[[int], Rows]]:
    """Buckets of about equal size, n rows in all."""
    count = 1 << depth
    sizes = [n // count + (bucket < n % count) for bucket in range(count)]
    return range(count), lambda bucket: bucket_rows(sizes[bucket], bucket, depth)


def bench_layout(sample: Rows, depth: int, segments: int) -> Layout:
    """Splines of all covariates: p = 201 at two segments."""
    basis = pin(sample.covariates, Choice(segments=segments))
    return lay_out(basis, sample, folds=FOLDS, depth=depth)


def matrices(rows: Rows) -> tuple[Doubles, Doubles, Doubles]:
    """Covariates, treatments and outcomes as other libraries take them, ``(n, columns)``."""
    x = [column for column in rows.covariates.values() if isinstance(column, np.ndarray)]
    return (
        np.column_stack(x),
        np.column_stack(list(rows.treatments.values())),
        np.column_stack(list(rows.outcomes.values())),
    )


@dataclass(slots=True)
class Timing:
    """Wall and processor seconds; the latter do not count others' work on a shared machine."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[Timing]:
    """Time a block in this process, all threads."""
    timing = Timing()
    wall, cpu = time.perf_counter(), time.process_time()
    yield timing
    timing.wall, timing.cpu = time.perf_counter() - wall, time.process_time() - cpu


@dataclass(slots=True)
class Table:
    """A benchmark's figures, written as CSV with the machine they were taken on."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, figure: str, n: int, value: float, unit: str, note: str = "") -> None:
        load = round(os.getloadavg()[0], 1)
        self.rows.append(
            {"figure": figure, "rows": n, "value": f"{value:.4g}", "unit": unit, "load": load,
             "note": note}
        )  # fmt: skip
        print(f"{figure}: {value:.4g} {unit} ({n} rows, load {load}) {note}", flush=True)

    def write(self, name: str, command: str) -> None:
        machine = (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        with (HERE / name).open("w", newline="") as sink:
            sink.write(f"# {command}; {machine}, numpy {np.__version__}\n")
            writer = csv.DictWriter(sink, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
