"""Which version of each source a window is computed on, and the record of what a backfill chose."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from conf.load import LoadedStudy
from conf.profile import Profile
from conf.study import Study
from conf.windows import Span, span_of
from estimators.errors import SourceError, Where
from jobs.contracts import BACKFILLS
from jobs.failpoints import reach
from jobs.lake import Pin, append_once, read_record
from jobs.maturity import ready_at, statistic, timed_sources
from jobs.resolve import pin_corrections, pin_sources

PinMode = Literal["now", "as-of-window"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a table and when it was committed."""

    number: int
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """A window that a backfill sets out to compute.

    Attributes
    ----------
    study_key
        Key of the same study; empty where the sources could not be pinned.
    versions
        Source name to the version to compute it on.
    """

    span: Span
    study_key: str
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backfill:
    """What a backfill set out to do."""

    name: str
    study: str
    pin: PinMode
    refresh: bool
    windows: tuple[PlannedWindow, ...]
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Histories:
    """Sources at their newest versions, with all versions that their logs tell of.

    Attributes
    ----------
    newest
        By source name; a version that the study names stands for the newest.
    known
        By source name, oldest first; of sources whose version the study does not name.
    corrections
        Tables that correct predicted outcomes, at their newest versions or those the study names.
    """

    study: Study
    newest: Mapping[str, Pin]
    known: Mapping[str, Sequence[Version]]
    corrections: Mapping[str, Pin] = field(default_factory=dict)

    @property
    def table_ids(self) -> dict[str, str]:
        """Source name to Delta table id."""
        return {name: pin.table_id for name, pin in self._every.items()}

    @property
    def now(self) -> dict[str, int]:
        """Source name to newest version."""
        return {name: pin.version for name, pin in self._every.items()}

    @property
    def _every(self) -> dict[str, Pin]:
        return {**self.newest, **self.corrections}

    def as_of(self, span: Span) -> dict[str, int]:
        """Versions that were the newest at the first moment at which the window could have run.

        This moment is the earliest at which every timed source is complete up to the window's end
        plus the longest horizon, and every other source exists: what a schedule that never sleeps
        would have pinned. A window that is not mature yet, and one without bounds, gets the
        newest versions; resolving it says from when it may run. A calibration is no event: its
        newest version corrects every window.

        Raises
        ------
        SourceError
            A table's log no longer reaches back to that moment (``version_gone``).
        """
        timed = {name for name, _ in timed_sources(self.study, span)} & set(self.known)
        moments = []
        for name, known in self.known.items():
            first = known[0]
            if name in timed:
                found = _first_ready(self.study, span, self.newest[name], known)
                if found is None:
                    return self.now
                first = found
            moments.append(first.committed_at)
        if not timed:
            return self.now
        moment = max(moments)
        return self.now | {name: _newest_at(known, moment) for name, known in self.known.items()}


def read_histories(loaded: LoadedStudy, profile: Profile) -> Histories:
    """Pin a study's sources at their newest versions, and read their logs."""
    study, pins = loaded.study, pin_sources(loaded, profile)
    free = {name: pin for name, pin in pins.items() if study.sources[name].version is None}
    known = {name: versions(pin.path) for name, pin in free.items()}
    return Histories(study, pins, known, pin_corrections(loaded, profile))


def versions(path: str) -> list[Version]:
    """Versions of a table that its log tells of, oldest first; a clock set back moves none."""
    entries = sorted(DeltaTable(path).history(), key=lambda entry: int(entry["version"]))
    moments = accumulate(
        (datetime.fromtimestamp(entry["timestamp"] / 1000, UTC) for entry in entries), max
    )
    return [
        Version(int(entry["version"]), moment)
        for entry, moment in zip(entries, moments, strict=True)
    ]


def _first_ready(study: Study, span: Span, pin: Pin, known: Sequence[Version]) -> Version | None:
    """The first version that is complete for the window; None where not even the newest is."""
    ready = ready_at(study, span)
    watermark = study.sources[pin.name].watermark

    def complete(version: Version) -> bool:
        if watermark is None:
            return version.committed_at >= ready
        at = Pin(pin.name, pin.path, pin.table_id, version.number, version.committed_at)
        found, moment = _statistic(watermark, at)
        # What only Spark can evaluate is judged when the features are built.
        return version.committed_at >= ready if not found else bool(moment and moment >= ready)

    if not complete(known[-1]):
        return None
    low, high = 0, len(known) - 1
    while low < high:  # a source only grows more complete
        middle = (low + high) // 2
        low, high = (low, middle) if complete(known[middle]) else (middle + 1, high)
    first = known[low]
    if low == 0 and first.number > 0:
        raise SourceError(
            f"the table's log begins with version {first.number}; which version was the newest "
            f"at {ready:%Y-%m-%d %H:%M} UTC is no longer known",
            code="version_gone",
            where=Where(table=pin.name, version=first.number, window=span.label),
            remedy="`--pin now` computes the window on the newest versions",
        )
    return first


@lru_cache(maxsize=4096)  # a version never changes, and every window of a backfill asks
def _statistic(watermark: str, pin: Pin) -> tuple[bool, datetime | None]:
    return statistic(watermark, pin)


def _newest_at(known: Sequence[Version], moment: datetime) -> int:
    return max(each.number for each in known if each.committed_at <= moment)


def record_backfill(
    record_root: str,
    study: str,
    windows: Sequence[PlannedWindow],
    *,
    pin: PinMode,
    refresh: bool,
) -> Backfill:
    """Write down what a backfill is going to compute, in one commit, before it starts."""
    plan = Backfill(uuid.uuid4().hex, study, pin, refresh, tuple(windows), datetime.now(UTC))
    same: dict[str, Any] = {
        "backfill": plan.name,
        "study": study,
        "pin": pin,
        "refresh": refresh,
        "recorded_at": plan.recorded_at,
    }
    rows = [
        same
        | {
            "window_start": each.span.start,
            "window_end": each.span.end,
            "study_key": each.study_key,
            "pins": list(each.versions.items()),
        }
        for each in windows
    ]
    table = pa.Table.from_pylist(rows, schema=BACKFILLS)
    reach("backfill.before_plan")
    append_once(record_root, "backfills", f"backfill:{plan.name}", table)
    reach("backfill.after_plan")
    return plan


def last_backfill(record_root: str, study: Study) -> Backfill | None:
    """The last backfill that set out to compute anything of a study."""
    rows = read_record(record_root, "backfills", ds.field("study") == study.study).to_pylist()
    if not rows:
        return None
    newest = max(rows, key=lambda row: (row["recorded_at"], row["backfill"]))
    mine = [row for row in rows if row["backfill"] == newest["backfill"]]
    windows = [
        PlannedWindow(
            span_of(row["window_start"], row["window_end"], study.window),
            row["study_key"],
            dict(row["pins"]),
        )
        for row in sorted(mine, key=lambda row: row["window_start"])
    ]
    return Backfill(
        newest["backfill"],
        study.study,
        newest["pin"],
        newest["refresh"],
        tuple(windows),
        newest["recorded_at"],
    )
