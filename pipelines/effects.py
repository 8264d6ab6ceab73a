"""Current effects of a study over all its windows, from the record alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.dataset as ds

from conf.gates import CheckRow, Verdict, verdicts
from conf.load import LoadedStudy
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span, span_of
from jobs.lake import field_in, read_record

SCHEMA = "causeway.effects/1"
_CHECK_COLUMNS = (
    "run_key", "effect_id", "check", "metric", "value", "op", "threshold", "passed", "detail",
)  # fmt: skip
Row = dict[str, Any]


def current(profile: Profile, loaded: LoadedStudy, span: Span | None = None) -> list[Row]:
    """The latest row of every (window, effect), with its verdict, in order of window and effect.

    Each row has the record's columns, ``window`` (the label), ``verdict`` and ``checks_failed``.
    """
    study = loaded.study
    rows = _latest(_rows(profile, study.study, span))
    if not rows:
        return []
    judged = _judge(profile, study, rows)
    for row in rows:
        verdict = judged[row["run_key"], row["effect_id"]]
        row["sources"] = dict(row["sources"])
        row["window"] = span_of(row["window_start"], row["window_end"], study.window).label
        row["verdict"] = verdict.verdict
        row["checks_failed"] = list(verdict.failed)
    return rows


def _rows(profile: Profile, study: str, span: Span | None) -> list[Row]:
    where = ds.field("study") == study
    if span is not None:
        where &= (ds.field("window_start") == span.start) & (ds.field("window_end") == span.end)
    return list(read_record(profile.record_root, "effects", where).to_pylist())


def _latest(rows: Sequence[Row]) -> list[Row]:
    """Append-only: the row recorded last is the current one."""
    newest: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: (row["recorded_at"], row["run_key"])):
        newest[row["window_start"], row["window_end"], str(row["effect_id"])] = row
    longest_first = sorted(newest, key=lambda place: (place[0], -place[1].timestamp(), place[2]))
    return [newest[place] for place in longest_first]


def _judge(
    profile: Profile, study: Study, rows: Sequence[Row]
) -> Mapping[tuple[str, str], Verdict]:
    """Verdicts by run key and effect id, with today's gates: gates enter no key."""
    keys = sorted({row["run_key"] for row in rows})
    checks: dict[str, list[CheckRow]] = {key: [] for key in keys}
    where = field_in("run_key", keys)
    for row in read_record(profile.record_root, "checks", where, _CHECK_COLUMNS).to_pylist():
        checks[row.pop("run_key")].append(CheckRow(**row))
    judged = {}
    for key in keys:
        ids = [row["effect_id"] for row in rows if row["run_key"] == key]
        for effect_id, verdict in verdicts(study, ids, checks[key]).items():
            judged[key, effect_id] = verdict
    return judged


def as_object(study: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The object of the JSON contract."""
    hidden = ("window", "verdict")
    effects = [{name: row[name] for name in row if name not in hidden} for row in rows]
    return {"schema": SCHEMA, "study": study, "effects": effects}
