"""Windows of backfills that failed, as rows of the record: what `--retry-failed` takes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.dataset as ds

from estimators.errors import CausewayError
from jobs.contracts import FAILURES
from jobs.lake import append_once, read_record
from jobs.pins import PlannedWindow


def record_failure(
    record_root: str, backfill: str, study: str, planned: PlannedWindow, error: CausewayError
) -> None:
    """Write down that a window of a backfill failed, and with what; once a backfill."""
    row = {
        "backfill": backfill,
        "study": study,
        "window_start": planned.span.start,
        "window_end": planned.span.end,
        "pins": list(planned.versions.items()),
        "error_code": error.code,
        "error_type": type(error).__name__,
        "recorded_at": datetime.now(UTC),
    }
    key = f"failure:{backfill}:{planned.span.start.isoformat()}:{planned.span.end.isoformat()}"
    append_once(record_root, "failures", key, pa.Table.from_pylist([row], schema=FAILURES))


def that_failed(
    record_root: str, study: str, windows: Iterable[PlannedWindow]
) -> list[PlannedWindow]:
    """Of these windows, those that failed on these pins, in this backfill or in one before it.

    One before it counts, because a retry that was interrupted had planned the same window on the
    same pins, and never reached it.
    """
    rows = read_record(record_root, "failures", ds.field("study") == study).to_pylist()
    failed = {
        (row["window_start"], row["window_end"], frozenset(dict(row["pins"]).items()))
        for row in rows
    }
    return [
        each
        for each in windows
        if (each.span.start, each.span.end, frozenset(each.versions.items())) in failed
    ]
