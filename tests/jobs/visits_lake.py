"""A small lake of clinic visits, written in milliseconds, and a study of it as text to vary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from conf.load import LoadedStudy, parse_study
from conf.profile import Profile
from conf.windows import parse_span
from jobs.resolve import Resolved, resolve

TS = pa.timestamp("us", tz="UTC")
VISITS = pa.schema(
    [
        ("visit", pa.int64()),
        ("at", TS),
        ("known", TS),
        ("patient", pa.string()),
        ("clinic", pa.string()),
        ("dose", pa.int32()),
        ("cost", pa.float64()),
        ("pain", pa.float64()),
    ]
)
STUDY = """\
study: visits
sources:
  visits: {table: "{lake}/visits", event_time: at, known_at: known}
window: {every: 1 month, timezone: America/New_York}
units:
  sql: |
    SELECT visit, at, patient, clinic, dose, cost, pain
    FROM visits WHERE at >= :window_start AND at < :window_end
  id: visit
  time: at
  cluster: patient
history:
  earlier:
    from: visits
    by: patient
    lookback: 7 days
    columns: {visits_7d: count(*), pain_7d: avg(pain), cost_7d: sum(cost), worst_7d: max(pain)}
treatments: {dose: binary}
outcomes:
  pain: {kind: continuous, horizon: 1 day, missing: drop}
covariates: [clinic, cost, visits_7d, pain_7d, cost_7d, worst_7d]
folds: {k: 2}
effects: [{method: plr}]
"""


HISTORY = """history:
  earlier:
    from: visits
    by: patient
    lookback: 7 days
    columns: {visits_7d: count(*), pain_7d: avg(pain), cost_7d: sum(cost), worst_7d: max(pain)}
"""
PLAIN = ((HISTORY, ""), ("[clinic, cost, visits_7d, pain_7d, cost_7d, worst_7d]", "[clinic, cost]"))
FIRST = datetime(2024, 3, 2, 6, tzinfo=UTC)


def visit(number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    """A visit; values are no round numbers, since sums of those agree by accident."""
    row = {
        "visit": number,
        "at": at,
        "known": at + timedelta(hours=1),
        "patient": f"p{number % 40}",
        "clinic": "north" if number % 3 else None,
        "dose": number % 2,
        "cost": 10.1 + number / 7,
        "pain": None if number % 11 == 0 else 3.3 + number / 13,
    }
    return row | changes


def visits(count: int = 400, first: datetime = datetime(2024, 3, 1, 6, tzinfo=UTC)) -> list[Any]:
    """Visits every 100 minutes, over a month."""
    return [visit(number, first + timedelta(minutes=100 * number)) for number in range(count)]


def lake(home: Path, rows: Sequence[Mapping[str, Any]] | None = None, **settings: Any) -> Profile:
    """A profile whose lake holds the visits."""
    profile = Profile(name="tests", home=home, **settings)
    write(profile, "visits", visits() if rows is None else rows)
    return profile


def write(
    profile: Profile,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema = VISITS,
    mode: Any = "append",
) -> None:
    """Commit rows to a table of the lake."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_deltalake(f"{profile.lake_root}/{name}", table, mode=mode)


def study(text: str = STUDY, **changes: str) -> LoadedStudy:
    """The study with replacements: ``old=new`` by keyword is for words, else change the text."""
    for old, new in changes.items():
        text = text.replace(old, new)
    return LoadedStudy(parse_study(text, Path("visits.yaml")), Path("visits.yaml"), text)


def changed(*changes: tuple[str, str]) -> LoadedStudy:
    """The study with parts of its text replaced; each must be there."""
    text = STUDY
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return study(text)


def plain(*changes: tuple[str, str]) -> LoadedStudy:
    """The study without history, with further changes."""
    return changed(*PLAIN, *changes)


def resolved(
    profile: Profile, loaded: LoadedStudy | None = None, window: str | None = "2024-03"
) -> Resolved:
    """The study resolved for a window."""
    loaded = loaded or study()
    return resolve(loaded, parse_span(window, loaded.study.window), profile)


def nothing_written(profile: Profile) -> bool:
    """Neither rows nor a record."""
    return not Path(profile.features_root).exists() and not Path(profile.record_root).exists()
