"""Which windows of a study the record holds, what made them, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

import pyarrow.dataset as ds

from conf.windows import ALL, Span
from jobs.lake import read_record
from jobs.ledger import Stage, StageName, find

_DAY = 86400.0
_BY_ROW = ("features", "crossfit")
_BY_WINDOW = ("estimate", "register")


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as the ledger knows it.

    Attributes
    ----------
    stage
        The committed stage ``estimate``; its key is the run key, its digest the effects digest.
    study_key
        Key of the same study (`conf.keys.study_key`); empty where the run is older than the key.
    sources, table_ids
        Source name to pinned version and to Delta table id.
    text
        The study's YAML as it was read; empty where the run is older than this column.
    """

    stage: Stage
    study: str
    start: datetime
    end: datetime
    study_key: str
    sources: Mapping[str, int]
    table_ids: Mapping[str, str]
    text: str
    device: str
    libraries: Mapping[str, str]
    numerics: Mapping[str, int]
    numerics_label: str
    platform: str
    recorded_at: datetime

    @property
    def run_key(self) -> str:
        """What the record, MLflow and the reviewer call the run."""
        return self.stage.key

    @property
    def crossfit(self) -> str:
        """Key of the sums that the run was made of; empty where the run does not say."""
        return str((self.stage.detail or {}).get("crossfit", ""))


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger.

    Attributes
    ----------
    stage
        As `reused`; what it took stands in `seconds`.
    """

    stage: Stage
    start: datetime
    end: datetime
    sources: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Windows:
    """A study's part of the ledger, read once.

    Attributes
    ----------
    entries
        Committed stages by name and key.
    runs
        Runs, the one recorded last at the end.
    """

    entries: Mapping[tuple[str, str], Entry]
    runs: tuple[RecordedRun, ...]

    def stage(self, name: str, key: str) -> Stage | None:
        """A committed stage of the study."""
        entry = self.entries.get((name, key))
        return entry.stage if entry else None

    def current(self, span: Span) -> RecordedRun | None:
        """The run of a window that counts: the last recorded."""
        return self._last(span, self.runs)

    def same_study(self, span: Span, study_key: str) -> RecordedRun | None:
        """The last run of the same study on this window, whatever its pins were."""
        return self._last(span, (each for each in self.runs if each.study_key == study_key))

    def lineage(self, run: RecordedRun, record_root: str) -> tuple[Stage, ...]:
        """The stages that made a run: features, crossfit, estimate and, where done, register.

        Sums may have been committed under another study that computes the same.
        """
        crossfit = self._stage("crossfit", run.crossfit, record_root)
        key = str((crossfit.detail or {}).get("features", "")) if crossfit else ""
        features = self._stage("features", key, record_root)
        register = self.stage("register", run.run_key)
        return tuple(each for each in (features, crossfit, run.stage, register) if each)

    def _stage(self, name: StageName, key: str, record_root: str) -> Stage | None:
        return self.stage(name, key) or (find(record_root, name, key) if key else None)

    def covers(self, span: Span, study_key: str, sources: Mapping[str, int]) -> bool:
        """Whether the same study has a run of just the rows that these versions gave.

        Rows that are equal on other versions are one run, recorded with the versions it had first.
        """
        mine = (span.start, span.end)
        built = [
            each.stage.digest
            for each in self.entries.values()
            if each.stage.name == "features"
            and (each.start, each.end) == mine
            and dict(each.sources) == dict(sources)
        ]
        runs = [each for each in self.runs if each.study_key == study_key]
        return any(self._rows(each) in built for each in runs if (each.start, each.end) == mine)

    def _rows(self, run: RecordedRun) -> str:
        """Digest of the feature rows of a run."""
        crossfit = self.stage("crossfit", run.crossfit)
        key = str((crossfit.detail or {}).get("features", "")) if crossfit else ""
        features = self.stage("features", key)
        return features.digest if features else "unknown"

    @staticmethod
    def _last(span: Span, runs: Iterable[RecordedRun]) -> RecordedRun | None:
        bounds = (span.start, span.end)
        return next(
            (each for each in reversed([*runs]) if (each.start, each.end) == bounds),
            None,
        )


def read_windows(record_root: str, study: str) -> Windows:
    """Read what the ledger holds of a study."""
    rows = read_record(record_root, "stages", ds.field("study") == study).to_pylist()
    rows.sort(key=lambda row: row["recorded_at"])
    return Windows(
        {(row["stage"], row["key"]): _entry(row) for row in rows},
        tuple(run_of(row) for row in rows if row["stage"] == "estimate"),
    )


def _entry(row: Mapping[str, Any]) -> Entry:
    bounds = (row["window_start"], row["window_end"])
    return Entry(stage_of(row), *bounds, dict(row["sources"]), row["seconds"])


def read_run(record_root: str, run_key: str) -> RecordedRun | None:
    """Find a run by its key, of whatever study; None where it is not recorded."""
    where = (ds.field("stage") == "estimate") & (ds.field("key") == run_key)
    rows = read_record(record_root, "stages", where).to_pylist()
    return run_of(rows[0]) if rows else None


def stage_of(row: Mapping[str, Any]) -> Stage:
    """A row of the ledger as a stage that is there already."""
    detail = json.loads(row["detail"])
    facts = (row["key"], row["table"], row["version"], row["rows"])
    return Stage(row["stage"], "reused", *facts, 0.0, row["digest"], detail)


def run_of(row: Mapping[str, Any]) -> RecordedRun:
    """A row of the ledger, of the stage ``estimate``, as a run."""
    detail = json.loads(row["detail"])
    return RecordedRun(
        stage_of(row),
        row["study"],
        row["window_start"],
        row["window_end"],
        detail.get("study_key", ""),
        dict(row["sources"]),
        detail.get("table_ids", {}),
        detail.get("text", ""),
        detail.get("device", "cpu"),
        detail.get("libraries", {}),
        detail.get("numerics", {}),
        row["numerics"],
        row["platform"],
        row["recorded_at"],
    )


@dataclass(frozen=True, slots=True)
class Costs:
    """What a study's past runs took, engine start not counted.

    Attributes
    ----------
    per_row
        Median seconds a unit, of features and crossfit.
    per_window
        Median seconds a window, of estimate and register.
    per_day
        Median units a day of the windows; None where nothing was recorded.
    rows
        Units of each recorded window, by its bounds.
    """

    per_row: Mapping[str, float]
    per_window: Mapping[str, float]
    per_day: float | None
    rows: Mapping[tuple[datetime, datetime], int]

    def units(self, span: Span) -> int | None:
        """Units of a window: those recorded, or as many a day as in the others."""
        known = self.rows.get((span.start, span.end))
        if known is not None or self.per_day is None:
            return known
        if span == ALL:
            return None
        return round(self.per_day * (span.end - span.start).total_seconds() / _DAY)

    def seconds(self, span: Span, stages: Collection[str]) -> float | None:
        """What these stages of a window will take; None where the past does not tell."""
        units = self.units(span)
        total = 0.0
        for name in stages:
            if name in _BY_ROW and name in self.per_row and units is not None:
                total += self.per_row[name] * units
            elif name in self.per_window:
                total += self.per_window[name]
            else:
                return None
        return total


def costs(windows: Windows) -> Costs:
    """Learn from the ledger what a study's stages take."""
    by_row: dict[str, list[float]] = {name: [] for name in _BY_ROW}
    by_window: dict[str, list[float]] = {name: [] for name in _BY_WINDOW}
    rows = {}
    for entry in windows.entries.values():
        stage, seconds = entry.stage, entry.seconds
        if stage.name in _BY_WINDOW:
            by_window[stage.name].append(seconds)
        units = _units(stage)
        if stage.name in _BY_ROW and units:
            by_row[stage.name].append(seconds / units)
        if stage.name == "features":
            rows[entry.start, entry.end] = stage.rows
    return Costs(_medians(by_row), _medians(by_window), _per_day(rows), rows)


def _units(stage: Stage) -> int:
    return stage.rows if stage.name == "features" else int((stage.detail or {}).get("units", 0))


def _medians(values: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(found) for name, found in values.items() if found}


def _per_day(rows: Mapping[tuple[datetime, datetime], int]) -> float | None:
    rates = [
        count * _DAY / (end - start).total_seconds()
        for (start, end), count in rows.items()
        if (start, end) != (ALL.start, ALL.end)
    ]
    return median(rates) if rates else None
