"""Recorded windows with the sums behind their effects, so that windows can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conf.load import LoadedStudy
from estimators.drift import CellSeries, influence
from jobs import register
from jobs.contracts import CELLS, STAGES
from jobs.lake import append_once
from tests.jobs import record_sample as sample

ATE = "irm.ate.rain.dep_delay"
PLR = "plr.slope.rain.dep_delay"
DAYS = 31
UNITS = 400.0
GATES: dict[str, Any] = {"gates": {"*": {"drift.p_value": ">= 0.001"}}}


def study(gates: Mapping[str, Any] | None = None, **changes: Any) -> LoadedStudy:
    """The sample's study, by default with a gate on drift alone."""
    return sample.study(publish=dict(gates or GATES), **changes)


@dataclass(frozen=True, slots=True)
class Sums:
    """The cells of one window: a mean by day, clustered."""

    days: tuple[str, ...]
    values: Any

    @property
    def theta(self) -> float:
        return float(self.values.mean())

    @property
    def se(self) -> float:
        """The clustered standard error, from its definition."""
        groups = len(self.days)
        sums = UNITS * (self.values - self.theta)
        factor = groups / (groups - 1)
        return float(np.sqrt((sums**2).sum() * factor) / (UNITS * groups))


def sums(label: str, effect_id: str, shift: float = 0.0, noise: float = 6.0) -> Sums:
    """The same days give the same values in every window that holds them."""
    days = _days(label)
    drawn = [
        np.random.default_rng([int(sample.key(effect_id, day)[:8], 16)]).normal() for day in days
    ]
    return Sums(days, 20.0 + noise * np.array(drawn) + shift)


def _days(label: str) -> tuple[str, ...]:
    months = [label] if len(label) == 7 else [f"{label}-{month:02d}" for month in range(1, 13)]
    return tuple(f"{month}-{day:02d}" for month in months for day in range(1, DAYS + 1))


def record(
    home: Path,
    label: str = "2013-03",
    *,
    shift: float = 0.0,
    salt: str = "",
    loaded: LoadedStudy | None = None,
    recorded_at: datetime | None = None,
    with_sums: bool = True,
    **more: Any,
) -> sample.Recorded:
    """A window whose whole effects follow from cells that are in the record too."""
    loaded = loaded or study()
    rows = [row for row in sample.effects(label, 0.0) if row["group_by"] is None]
    found = {row["effect_id"]: sums(label, row["effect_id"], shift) for row in rows}
    changes = {
        effect_id: {
            "theta": each.theta,
            "se": each.se,
            "ci_low": each.theta - 2.04 * each.se,
            "ci_high": each.theta + 2.04 * each.se,
            "n_clusters": len(each.days),
        }
        for effect_id, each in found.items()
    }
    given = more.pop("changes", {})
    merged = {key: changes.get(key, {}) | dict(given.get(key, {})) for key in {*changes, *given}}
    recorded = sample.record(
        home, label, salt=salt, loaded=loaded, recorded_at=recorded_at, changes=merged, **more
    )
    if with_sums:
        _write(recorded, found)
    return recorded


def _write(recorded: sample.Recorded, found: Mapping[str, Sums]) -> None:
    key, root = sample.key("crossfit", recorded.run_key), recorded.profile.record_root
    cells = [
        {
            "crossfit_key": key,
            "rep": 0,
            "fold": place % 5,
            "cell": day,
            "group_by": None,
            "group_value": None,
            "effects": list(found),
            "n": [int(UNITS)] * len(found),
            "w": [UNITS] * len(found),
            "a": [-UNITS] * len(found),
            "b": [UNITS * float(each.values[place]) for each in found.values()],
        }
        for place, day in enumerate(next(iter(found.values())).days)
    ]
    append_once(root, "cells", key, pa.Table.from_pylist(cells, schema=CELLS))
    span = recorded.resolved.span
    stage = {
        "stage": "estimate",
        "key": recorded.run_key,
        "study": recorded.resolved.loaded.study.study,
        "window_start": span.start,
        "window_end": span.end,
        "table": "effects",
        "version": 1,
        "rows": 12,
        "digest": "sha256:0",
        "seconds": 0.1,
        "sources": [(name, pin.version) for name, pin in recorded.resolved.pins.items()],
        "numerics": "n",
        "platform": "p",
        "detail": json.dumps({"crossfit": key}),
        "recorded_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    rows = pa.Table.from_pylist([stage], schema=STAGES)
    append_once(root, "stages", f"estimate:{recorded.run_key}", rows)


def register_all(*runs: sample.Recorded) -> None:
    """Register windows in MLflow."""
    for each in runs:
        register.run(each.resolved, each.estimate, each.profile)


def influence_of(found: Sums) -> Any:
    """The influence by day, written out."""
    size = len(found.days)
    series = CellSeries(np.array(found.days), np.full(size, -UNITS), UNITS * found.values)
    return influence([series], found.theta, found.se, size)
