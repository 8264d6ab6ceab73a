"""The files of a run in MLflow: tables, study and keys, at full precision."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from jobs.contracts import EFFECTS
from jobs.lake import Pin
from jobs.pages.evidence import Evidence
from jobs.pages.wording import Row


def files(evidence: Evidence, pins: Mapping[str, Pin], digest: str) -> dict[str, bytes]:
    """Path among the artifacts to content; figures and the note come from elsewhere."""
    table = _table(evidence)
    return {
        "effects.json": _json(effects_object(evidence)),
        "checks.json": _json(checks_object(evidence)),
        "tables/effects.parquet": _parquet(table),
        "tables/effects.csv": _csv(table),
        "study/study.yaml": evidence.text.encode(),
        "study/keys.json": _json(_keys(evidence, pins, digest)),
    }


def effects_object(evidence: Evidence) -> dict[str, Any]:
    """``causeway.effects/1``: the record's rows, with the checks that each failed."""
    rows = []
    for row in evidence.effects:
        verdict = evidence.verdicts[row["effect_id"]]
        cells = {name: plain(row[name]) for name in EFFECTS.names}
        rows.append(cells | {"checks_failed": list(verdict.failed)})
    return {"schema": "causeway.effects/1", "study": evidence.study.study, "effects": rows}


def checks_object(evidence: Evidence) -> dict[str, Any]:
    """``causeway.checks/1``: the record's rows, their details as objects."""
    rows = [
        {
            "effect_id": check.effect_id,
            "check": check.check,
            "metric": check.metric,
            "value": plain(check.value),
            "op": check.op,
            "threshold": plain(check.threshold),
            "passed": check.passed,
            "detail": plain(json.loads(check.detail)) if check.detail else None,
        }
        for check in evidence.checks
    ]
    return {"schema": "causeway.checks/1", "study": evidence.study.study, "checks": rows}


def plain(value: Any) -> Any:
    """JSON values only: times as UTC with a Z, NaN and infinity as null."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def _keys(evidence: Evidence, pins: Mapping[str, Pin], digest: str) -> dict[str, Any]:
    row = evidence.main
    return {
        "study": evidence.study.study,
        "window": evidence.label,
        "run_key": evidence.run_key,
        "effects_digest": digest,
        "sources": {
            name: {"table_id": pin.table_id, "version": pin.version} for name, pin in pins.items()
        },
        "numerics": row["numerics"],
        "platform": row["platform"],
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode()


def _table(evidence: Evidence) -> pa.Table:
    rows = [_record_row(row) for row in evidence.effects]
    return pa.Table.from_pylist(rows, schema=EFFECTS)


def _record_row(row: Row) -> dict[str, Any]:
    return dict(row, sources=list(row["sources"].items()))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _csv(table: pa.Table) -> bytes:
    """The same rows as CSV; a map of sources becomes ``flights=12 weather=3``."""
    text = [
        " ".join(f"{name}={version}" for name, version in pairs)
        for pairs in table["sources"].to_pylist()
    ]
    place = table.schema.get_field_index("sources")
    sink = io.BytesIO()
    pa_csv.write_csv(table.set_column(place, "sources", pa.array(text, pa.string())), sink)
    return sink.getvalue()
