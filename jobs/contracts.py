"""The schemas of the tables that Causeway writes: the record, a contract with its readers."""

from __future__ import annotations

import pyarrow as pa

from conf import names

TS = pa.timestamp("us", tz="UTC")
DOUBLES = pa.list_(pa.float64())
SCHEMA_VERSION = 1
"""Version of the record's schema, stored in the table properties of every record table."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _schema(**columns: pa.DataType) -> pa.Schema:
    """Build a schema; a trailing underscore in a name marks a nullable column."""
    return pa.schema(
        [
            pa.field(name[:-1], kind) if name.endswith("_") else _required(name, kind)
            for name, kind in columns.items()
        ]
    )


_S, _L, _I, _D, _B = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()

EFFECTS = _schema(
    run_key=_S, study=_S, window_start=TS, window_end=TS, effect_id=_S, method=_S, estimand=_S,
    treatment=_S, arm_=_S, control_=_S, outcome=_S, group_by_=_S, group_value_=_S, n=_L,
    n_clusters_=_L, folds=_I, reps=_I, theta_=_D, se_=_D, se_kind=_S, se_hc0_=_D, level=_D,
    ci_low_=_D, ci_high_=_D, p_value_=_D, p_adjusted_=_D, band_low_=_D, band_high_=_D, naive_=_D,
    clipped_share_=_D, status=_S, error_code_=_S, sources=pa.map_(_S, _L), numerics=_S,
    platform=_S, recorded_at=TS,
)  # fmt: skip

CHECKS = _schema(
    run_key=_S, study=_S, window_start=TS, window_end=TS, effect_id_=_S, check=_S, metric=_S,
    value_=_D, op_=_S, threshold_=_D, passed_=_B, detail=_S,
)  # fmt: skip

SCORES = _schema(
    crossfit_key=_S, effect_id=_S, rep=_I, fold=_I, unit_id=_S, cluster_id_=_S, weight=_D,
    psi_a=_D, psi_b=_D,
)  # fmt: skip

CATE = _schema(
    crossfit_key=_S, effect_id=_S, learner=_S, rep=_I, fold=_I, unit_id=_S, cluster_id_=_S, tau=_D,
)  # fmt: skip
"""Conditional effects by unit, out of fold; there where the study asks for them."""

CELLS = _schema(
    crossfit_key=_S, rep=_I, fold=_I, cell=_S, group_by_=_S, group_value_=_S,
    effects=pa.list_(_S), n=pa.list_(_L), w=DOUBLES, a=DOUBLES, b=DOUBLES,
)  # fmt: skip

MOMENTS = _schema(
    crossfit_key=_S, rep=_I, group_by_=_S, group_value_=_S, level=_S, effect_i=_S, effect_j=_S,
    aa=_D, ab=_D, ba=_D, bb=_D,
)  # fmt: skip

TALLIES = _schema(
    crossfit_key=_S, rep=_I, fold=_I, group_by_=_S, group_value_=_S, effect_id_=_S, subject=_S,
    arm_=_S, weighting=_S, n=_L, w=_D, ww=_D, x=_D, xx=_D, xy=_D, hist=pa.list_(_L),
)  # fmt: skip

REVIEWS = _schema(
    run_key=_S, effect_id=_S, decision=_S, reason=_S, reviewer=_S, previous_=_S, recorded_at=TS,
)  # fmt: skip

STAGES = _schema(
    stage=_S, key=_S, study=_S, window_start=TS, window_end=TS, table=_S, version=_L, rows=_L,
    digest=_S, seconds=_D, sources=pa.map_(_S, _L), numerics=_S, platform=_S, detail=_S,
    recorded_at=TS,
)  # fmt: skip
"""Our own ledger: a stage is committed once its row is here, after its tables."""

BACKFILLS = _schema(
    backfill=_S, study=_S, window_start=TS, window_end=TS, study_key=_S, pins=pa.map_(_S, _L),
    pin=_S, refresh=_B, recorded_at=TS,
)  # fmt: skip
"""Windows that a backfill set out to compute, at which pins; written before it starts."""

FAILURES = _schema(
    backfill=_S, study=_S, window_start=TS, window_end=TS, pins=pa.map_(_S, _L), error_code=_S,
    error_type=_S, recorded_at=TS,
)  # fmt: skip
"""Windows of a backfill that failed, each when it did; one that it never reached has no row."""

ERASURES = _schema(
    erasure=_S, table=_S, table_id=_S, key_=_S, versions=pa.list_(_L), rows=_L, matched=_S,
    reason=_S, requested_by=_S, recorded_at=TS,
)  # fmt: skip
"""Rows that were erased on request, by table and, in our own tables, by stage key; never their
values. `versions` of the table can no longer be read in full."""

GRAM_LAYOUTS = _schema(
    pin=_S, study=_S, window_start=TS, window_end=TS, layout_digest=_S, layout=_S, slice_days=_I,
    features_digest=_S, recorded_at=TS,
)  # fmt: skip
"""Frames of the tables of partial Grams (JSON: knots, levels, centres), pinned once a window."""

GRAM_PARTIALS = _schema(
    layout_digest=_S, rep=_I, slice=_L, fold=_I, bucket=_L, rows_digest=_S, n=_L, gram=DOUBLES,
    missing=DOUBLES, n_missing=pa.list_(_L), strays=pa.list_(_L),
)  # fmt: skip
"""Partial Grams by leaf: sums of products of columns, packed upper triangles. A leaf may come
several times, with other rows; `rows_digest` says which."""

RECORD: dict[str, pa.Schema] = {
    "effects": EFFECTS,
    "checks": CHECKS,
    "scores": SCORES,
    "cate": CATE,
    "cells": CELLS,
    "moments": MOMENTS,
    "tallies": TALLIES,
    "reviews": REVIEWS,
    "stages": STAGES,
    "backfills": BACKFILLS,
    "failures": FAILURES,
    "erasures": ERASURES,
    "gram_layouts": GRAM_LAYOUTS,
    "gram_partials": GRAM_PARTIALS,
}
"""Tables of the record, by name; each lies at ``<home>/record/<name>``."""

FEATURES_RESERVED = names.FEATURES_RESERVED
"""Columns that every features table has; declared in `conf`, since the validator knows them."""
