"""What must stay readable, and upkeep that never breaks it: pins, compaction, vacuum.

The registry of pins is the record itself: every run says which version of which table it was made
from, and a backfill says which versions it is going to use. A pin whose table is not known (a run
of an early release names its sources without their ids) holds in every table of the lake.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from conf.document import read_document
from conf.profile import Profile
from jobs.contracts import RECORD
from jobs.failpoints import reach
from jobs.lake import exists, read_record, record_path
from jobs.ledger import Progress, silent
from jobs.merging import alone
from jobs.resolve import absolute
from jobs.scratch import scratch_folders
from jobs.upkeep.table_files import active, local, missing, on_disk, unsupported

_SPARKS_DEFAULT_DAYS = 7
_UNITS = {"hour": 1 / 24, "day": 1.0, "week": 7.0}


@dataclass(slots=True)
class Pins:
    """Versions that the record needs.

    Attributes
    ----------
    tables
        Delta table id to versions.
    anywhere
        Versions of tables that are not known.
    features
        Features table, by the study's name, to the versions that were handed to cross-fitting.
    places
        Table id to the source's path as the study wrote it, where its text is recorded.
    """

    tables: dict[str, set[int]] = field(default_factory=dict)
    anywhere: set[int] = field(default_factory=set)
    features: dict[str, set[int]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def of(self, table_id: str) -> set[int]:
        """Versions of a source table that must stay."""
        return self.tables.get(table_id, set()) | self.anywhere


def pins(record_root: str) -> Pins:
    """Read the registry of pinned versions from the record."""
    rows = read_record(record_root, "stages").to_pylist()
    found = Pins()
    ids = _table_ids(rows, found)
    for row in rows:
        if row["stage"] == "features":
            name = str(row["table"]).removeprefix("features/")
            found.features.setdefault(name, set()).add(row["version"])
        _hold(found, ids, row["study"], dict(row["sources"]))
    for row in read_record(record_root, "backfills").to_pylist():
        _hold(found, ids, row["study"], dict(row["pins"]))
    return found


def _table_ids(rows: list[dict[str, Any]], found: Pins) -> dict[tuple[str, str], set[str]]:
    """Study and source to the tables that it stood for; their places on the way."""
    ids: dict[tuple[str, str], set[str]] = {}
    for row in sorted(rows, key=lambda row: row["recorded_at"]):
        detail = json.loads(row["detail"])
        document, _ = read_document(detail.get("text") or "{}", "")
        for name, table_id in detail.get("table_ids", {}).items():
            ids.setdefault((row["study"], name), set()).add(table_id)
            place = document.text("sources", name, "table")
            if place:
                found.places[table_id] = place
    return ids


def _hold(
    found: Pins, ids: Mapping[tuple[str, str], set[str]], study: str, versions: Mapping[str, int]
) -> None:
    for name, version in versions.items():
        tables = ids.get((study, name))
        if not tables:
            found.anywhere.add(version)
        for table_id in tables or ():
            found.tables.setdefault(table_id, set()).add(version)


@dataclass(frozen=True, slots=True)
class Kept:
    """What upkeep did to a table, or found.

    Attributes
    ----------
    table
        ``record/effects``, ``features/rain_delays``, ``lake/flights``, or a foreign table's path.
    pinned
        Versions that the record needs.
    gone
        Of these, versions that can no longer be read.
    at_risk
        Of these, versions that Spark refuses because the table keeps old versions too briefly.
    removed
        Files that were deleted (or would be).
    note
        Why nothing was done, or what to do.
    """

    table: str
    pinned: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    at_risk: tuple[int, ...] = ()
    files_before: int = 0
    files_after: int = 0
    removed: int = 0
    note: str = ""


def maintain(
    profile: Profile,
    *,
    dry_run: bool = False,
    compact_lake: bool = False,
    progress: Progress = silent,
) -> list[Kept]:
    """Compact and vacuum the tables under the home; look at the sources that are elsewhere.

    Parameters
    ----------
    dry_run
        Change nothing, say what would be removed.
    compact_lake
        Compact source tables under the home too. Their newest version moves then, and the next
        run builds its features anew (to the same digest).
    """
    known = pins(profile.record_root)
    tables = list(_own(profile, known))
    done = []
    for number, (name, path, keep, compact) in enumerate(tables):
        progress("maintain", number, len(tables), name)
        wanted = compact or (compact_lake and name.startswith("lake/"))
        done.append(_upkeep(profile, name, path, keep, compact=wanted, dry_run=dry_run))
    progress("maintain", len(tables), len(tables))
    return [*done, *_foreign(profile, known), *_scratch(profile, dry_run=dry_run)]


def _scratch(profile: Profile, *, dry_run: bool) -> Iterator[Kept]:
    """Folders that a killed process left; one that is younger than a day may be at work."""
    begun = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    folders = [each for each in scratch_folders(profile.home) if each.stat().st_mtime < begun]
    for each in folders:
        files = sum(1 for path in each.rglob("*") if path.is_file())
        if not dry_run:
            shutil.rmtree(each)
        left = files if dry_run else 0
        yield Kept(f"tmp/{each.name}", files_before=files, files_after=left, removed=files)


def _own(profile: Profile, known: Pins) -> Iterator[tuple[str, str, set[int], bool]]:
    """Name, path, versions to keep, and whether to compact. Readers of the record take the newest.

    Features are whole files of one key already, and their writer is Spark: nothing to compact.
    """
    for name in RECORD:
        path = record_path(profile.record_root, name)
        if exists(path):
            yield f"record/{name}", path, set(), True
    for path in _tables_below(profile.features_root):
        name = Path(path).name
        yield f"features/{name}", path, known.features.get(name, set()), False
    if _at_home(profile, profile.lake_root):
        for path in _tables_below(profile.lake_root):
            table_id = str(DeltaTable(path).metadata().id)
            yield f"lake/{Path(path).name}", path, known.of(table_id), False


def _tables_below(root: str) -> list[str]:
    if not local(root):
        return []
    return sorted(str(log.parent) for log in Path(root).glob("*/_delta_log"))


def _at_home(profile: Profile, path: str) -> bool:
    return local(path) and Path(path).resolve().is_relative_to(profile.home.resolve())


def _upkeep(
    profile: Profile, name: str, path: str, keep: set[int], *, compact: bool, dry_run: bool
) -> Kept:
    table = DeltaTable(path)
    pinned = tuple(sorted(keep))
    why = unsupported(table) or ("" if local(path) else "it lies in an object store")
    if why:
        return Kept(name, pinned, note=f"left alone: {why}; let its own engine vacuum it")
    before = len(on_disk(path))
    readable = {version for version in keep if not is_gone(path, version)}
    if compact and not dry_run and len(active(table)) > profile.retention.small_files:
        with alone(path):
            DeltaTable(path).optimize.compact()
        reach("maintain.after_compact")
        table = DeltaTable(path)
        table.create_checkpoint()
    hours = profile.retention.days * 24
    removable = _removable(table, path, hours, readable)
    if removable and not dry_run:
        reach("maintain.before_vacuum")
        table.vacuum(
            hours, dry_run=False, enforce_retention_duration=False, keep_versions=sorted(readable)
        )
    return Kept(
        name,
        pinned,
        gone=tuple(sorted(keep - readable)),
        files_before=before,
        files_after=len(on_disk(path)),
        removed=len(removable),
    )


def _removable(table: DeltaTable, path: str, hours: int, keep: set[int]) -> list[str]:
    """Files on the disk that a vacuum would delete.

    A vacuum commits, even where it deletes nothing; a table's version should not move for that.
    """
    named = table.vacuum(
        hours, dry_run=True, enforce_retention_duration=False, keep_versions=sorted(keep)
    )
    return [each for each in named if Path(path, each).exists()]


def is_gone(path: str, version: int) -> bool:
    """Whether a version can no longer be read: its commits or one of its files are missing."""
    try:
        table = DeltaTable(path)
        if version > table.version():
            return True
        table.load_as_version(version)
    except (DeltaError, OSError, ValueError):
        return True
    return local(path) and bool(missing(table, path))


def _foreign(profile: Profile, known: Pins) -> Iterator[Kept]:
    """Pinned sources that are not under the home: never touched, but looked at."""
    for table_id, place in sorted(known.places.items(), key=lambda item: item[1]):
        filled = place.replace("{lake}", profile.lake_root).replace("{home}", str(profile.home))
        path = absolute(filled)
        if _at_home(profile, path):
            continue
        versions = tuple(sorted(known.tables[table_id]))
        if not exists(path) or str(DeltaTable(path).metadata().id) != table_id:
            yield Kept(path, versions, gone=versions, note=f"{place}: the table is gone")
            continue
        gone = tuple(version for version in versions if is_gone(path, version))
        risk = tuple(each for each in _too_old(path, versions) if each not in gone)
        note = "not ours: left alone"
        if gone or risk:
            note += "; `reproduce` of runs on these versions starts from their features"
        yield Kept(path, versions, gone, risk, note=note)


def _too_old(path: str, versions: tuple[int, ...]) -> list[int]:
    """Versions that Spark refuses: older than the table keeps deleted files, and not the newest."""
    table = DeltaTable(path)
    text = (table.metadata().configuration or {}).get("delta.deletedFileRetentionDuration")
    limit = datetime.now(UTC) - timedelta(days=days(text or ""))
    moments = {entry["version"]: entry["timestamp"] / 1000 for entry in table.history()}
    return [
        version
        for version in versions
        if version != table.version()
        and version in moments
        and datetime.fromtimestamp(moments[version], UTC) < limit
    ]


def days(interval: str) -> float:
    """Days of Delta's ``interval 1 week``; Delta's default where it says something else."""
    words = interval.casefold().removeprefix("interval").split()
    if len(words) != 2 or not words[0].isdecimal():  # noqa: PLR2004 (number and unit)
        return _SPARKS_DEFAULT_DAYS
    unit = _UNITS.get(words[1].removesuffix("s"))
    return int(words[0]) * unit if unit else _SPARKS_DEFAULT_DAYS
