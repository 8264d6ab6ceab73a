"""The ledger of stages: a stage is committed once its row is here, after its tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.contracts import STAGES
from jobs.lake import append_once, read_record

StageName = Literal[
    "resolve", "features", "crossfit", "estimate", "register", "publish_map", "deconfound"
]
Status = Literal["computed", "reused", "not_run"]


class Progress(Protocol):
    """What long work reports to: `done` of `total` steps of a stage."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report one step."""


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's result: a reference to what it committed, never the rows.

    Attributes
    ----------
    key
        The stage's key, 64 hex digits.
    table, version
        The main table of the stage and the Delta version at which it is complete.
    rows
        Rows of the stage's main table under this key.
    digest
        Digest of those rows: equal keys give equal digests.
    detail
        Small facts of the stage, JSON values.
    """

    name: StageName
    status: Status
    key: str
    table: str
    version: int
    rows: int
    seconds: float
    digest: str = ""
    detail: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The stage's object in the JSON contract of a run."""
        return {
            "name": self.name,
            "status": self.status,
            "key": self.key,
            "table": self.table,
            "version": self.version,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
        }


def find(record_root: str, stage: StageName, key: str) -> Stage | None:
    """The committed stage under `key`, as `reused`; None where it is not committed."""
    rows = read_record(
        record_root, "stages", (ds.field("key") == key) & (ds.field("stage") == stage)
    ).to_pylist()
    if not rows:
        return None
    row = rows[0]
    return Stage(
        stage,
        "reused",
        key,
        row["table"],
        row["version"],
        row["rows"],
        0.0,
        row["digest"],
        json.loads(row["detail"]),
    )


def commit(
    record_root: str,
    stage: Stage,
    *,
    study: str,
    window: tuple[datetime, datetime],
    sources: Mapping[str, int],
    numerics: str,
    platform: str,
) -> Stage:
    """Write the stage's row: from here on the stage is committed. Idempotent by key."""
    row = {
        "stage": stage.name,
        "key": stage.key,
        "study": study,
        "window_start": window[0],
        "window_end": window[1],
        "table": stage.table,
        "version": stage.version,
        "rows": stage.rows,
        "digest": stage.digest,
        "seconds": stage.seconds,
        "sources": list(sources.items()),
        "numerics": numerics,
        "platform": platform,
        "detail": json.dumps(stage.detail or {}, sort_keys=True),
        "recorded_at": datetime.now(UTC),
    }
    append_once(record_root, "stages", f"{stage.name}:{stage.key}", _table(row))
    return replace(stage, status="computed")


def _table(row: Mapping[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([dict(row)], schema=STAGES)
