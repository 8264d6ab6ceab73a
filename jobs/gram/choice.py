"""What a window's first run chooses from its rows: slices, buckets, knots, levels and centres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from conf.profile import Profile
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout, lay_out
from estimators.gram.pinning import Choice, pin
from jobs.gram.blocks import Cut
from jobs.gram.frame import Frame
from jobs.gram.reading import batches
from jobs.gram.spill import bucketed
from jobs.ledger import Stage

ROWS_A_BUCKET = 20_000
"""Rows of a block are at most these where the layout is pinned: memory follows blocks, not rows."""
ROWS_A_SLICE = 20_000
"""Slices are the shortest that hold so many rows on average."""
_DAYS = (1, 7, 28, 364)


def choose_cut(spec: Mapping[str, Any], features: Stage, frame: Frame, profile: Profile) -> Cut:
    """Slices and buckets for the rows that are there."""
    span = _days(features, profile)
    days = spec.get("slice_days")
    if days is None:
        days = _slice_days(features, frame, profile, span)
    slices = max(span / days, 1.0) if days else 1.0
    rows = features.rows / slices / ROWS_A_BUCKET
    return Cut(days, max(0, math.ceil(math.log2(max(rows, 1.0)))))


def _slice_days(features: Stage, frame: Frame, profile: Profile, span: float) -> int:
    """0 where there are no times, too few rows, or cells are buckets of clusters.

    (Second moments of clusters need each cluster whole: all slices of a bucket in one task.)
    """
    if span <= 0.0 or (frame.clustered and bucketed(frame, features)):
        return 0
    return next((days for days in _DAYS if features.rows * days / span >= ROWS_A_SLICE), 0)


def _days(features: Stage, profile: Profile) -> float:
    low, high = None, None
    for batch in batches(features, profile, ["unit_time"]):
        found = pc.min_max(batch["unit_time"]).as_py()
        if found["min"] is not None:
            low = found["min"] if low is None else min(low, found["min"])
            high = found["max"] if high is None else max(high, found["max"])
    return 0.0 if low is None or high is None else (high - low).total_seconds() / 86_400


def choose_layout(spec: Mapping[str, Any], sample: Rows, frame: Frame, cut: Cut) -> Layout:
    """Pin a basis on the sample, and centres of treatments and outcomes."""
    basis = pin(sample.covariates, Choice(segments=spec["segments"]))
    return lay_out(basis, sample, folds=frame.k, depth=cut.depth, own_rows=frame.own_rows)
