"""Erasing a person's rows: from every file, older versions included, and from the log itself.

Deleting rows is a commit; the person would still be in the files of older versions, in the commit's
own condition and in the smallest and largest values that the log keeps of each file. So the record
of the erasure is written first (never the person's values), then the rows are deleted, then every
file that held them, then the log is cleaned. Each step finds what is left to do: an erasure that
was killed is run again. Versions that lose files can no longer be read; `find` says why.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable

from conf.profile import Profile
from estimators.errors import PlatformError, UsageError, Where
from jobs.contracts import ERASURES
from jobs.failpoints import reach
from jobs.lake import append_once, exists, read_record, record_path, scan
from jobs.merging import alone
from jobs.upkeep.row_filter import RowFilter, ids_in, parse_filter
from jobs.upkeep.table_files import active, commits, local, on_disk, unsupported, versions_with

_MARK = "causeway.erasure"
_HIDDEN = "erased"
_KEYS = ("features_key", "crossfit_key")


@dataclass(frozen=True, slots=True)
class Order:
    """A request to erase: why, and who asked."""

    reason: str
    requested_by: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased of one table.

    Attributes
    ----------
    rows
        Rows of the newest version that are gone.
    files
        Files that held such rows, in whatever version, and are deleted.
    keys
        Stage keys of our own tables that lost rows.
    versions
        Versions of the table that can no longer be read in full.
    """

    table: str
    rows: int
    files: int
    keys: tuple[str, ...]
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Erasure:
    """A row of ``erasures``."""

    erasure: str
    table: str
    table_id: str
    key: str | None
    versions: tuple[int, ...]
    rows: int
    matched: str
    reason: str
    requested_by: str
    recorded_at: datetime


def find(
    record_root: str,
    keys: Collection[str] = (),
    pins: Mapping[str, int] | None = None,
) -> list[Erasure]:
    """Erasures that took rows from what a run was made of, in their order.

    Parameters
    ----------
    keys
        Features and crossfit keys of the run.
    pins
        Delta table id to pinned version, of its sources.
    """
    rows = read_record(record_root, "erasures").to_pylist()
    found = [Erasure(**(row | {"versions": tuple(row["versions"])})) for row in rows]
    hit = [
        each
        for each in found
        if (each.key in keys if each.key else (pins or {}).get(each.table_id) in each.versions)
    ]
    return sorted(hit, key=lambda each: each.recorded_at)


def explain(erasures: Sequence[Erasure]) -> str:
    """Why a number can no longer be had: the erasures that took rows from it."""
    return "; ".join(
        f"{each.rows} rows of {each.table} were erased on {each.recorded_at:%Y-%m-%d}"
        f" ({each.reason}, asked by {each.requested_by})"
        for each in erasures
    )


def erase_rows(profile: Profile, table: str, condition: str, order: Order) -> list[Erased]:
    """Erase the rows of a table under the home that meet a condition.

    Parameters
    ----------
    table
        A name in the lake (``flights``), or ``features/STUDY``.

    Raises
    ------
    UsageError
        Not a table under the home, or not a condition; nothing was changed.
    PlatformError
        The table cannot be changed by delta-rs (``foreign_table``).
    """
    _check(order)
    path, name = _place(profile, table)
    schema = pa.schema(DeltaTable(path).schema().to_arrow())
    return [_erase(profile, path, name, parse_filter(condition, schema, name), order)]


def erase_ids(
    profile: Profile, study: str, column: str, ids: Sequence[str], order: Order
) -> list[Erased]:
    """Erase units or clusters from what a study's runs left behind: features, scores, cells.

    A cell that is named by an erased id keeps its sums under a meaningless name, so that recorded
    effects can still be compared.

    Parameters
    ----------
    column
        ``unit_id`` or ``cluster_id``.
    """
    _check(order)
    found = []
    features = f"{profile.features_root}/{study}"
    if exists(features):
        found.append(_erase(profile, features, f"features/{study}", ids_in(column, ids), order))
    keys = {
        row["key"]
        for row in read_record(
            profile.record_root,
            "stages",
            (ds.field("study") == study) & (ds.field("stage") == "crossfit"),
            ["key"],
        ).to_pylist()
    }
    for table, named in (("scores", column), ("cate", column), ("cells", "cell")):
        path = record_path(profile.record_root, table)
        if exists(path) and keys:
            mine = _of_keys(ids_in(named, ids), keys)
            found.append(
                _erase(profile, path, f"record/{table}", mine, order, rename=table == "cells")
            )
    if not found:
        raise UsageError(
            f"nothing of a study {study!r} is under this home",
            code="no_table",
            remedy="name a study that ran here, or a table of the lake with --where",
        )
    return found


def _of_keys(ids: RowFilter, keys: Collection[str]) -> RowFilter:
    mine = ids_in("crossfit_key", sorted(keys))
    return RowFilter(mine.arrow & ids.arrow, f"({mine.sql}) AND ({ids.sql})", ids.columns)


def _check(order: Order) -> None:
    if not order.reason.strip() or not order.requested_by.strip():
        raise UsageError(
            "an erasure needs --reason and --by",
            code="no_reason",
            remedy="say why, and who asked: it stands in the record, the person does not",
        )


def _place(profile: Profile, table: str) -> tuple[str, str]:
    """Path and name of a table that may be changed: under the home, and nowhere else."""
    home = profile.home.resolve()
    plain = table.removeprefix("{lake}/").removeprefix("lake/")
    below = f"{home}/{plain}" if plain.startswith("features/") else f"{profile.lake_root}/{plain}"
    if not local(below) or not Path(below).resolve().is_relative_to(home) or not exists(below):
        raise UsageError(
            f"no table {table!r} under the home",
            code="no_table",
            where=Where(table=table),
            remedy="name a table of the lake under CAUSEWAY_HOME, or features/STUDY; rows of"
            " tables elsewhere are erased by those who own them",
        )
    path = str(Path(below).resolve())
    return path, str(Path(path).relative_to(home))


def _erase(
    profile: Profile,
    path: str,
    name: str,
    rows: RowFilter,
    order: Order,
    *,
    rename: bool = False,
) -> Erased:
    with alone(path):  # what is being merged holds rows that no version names yet
        table = DeltaTable(path)
        why = unsupported(table)
        if why:
            raise PlatformError(
                f"its rows cannot be erased from here: {why}",
                code="foreign_table",
                where=Where(table=name),
                remedy="DELETE and VACUUM it with the engine that wrote it",
            )
        holding = _files_with(path, rows)
        now = active(table)
        alive = sorted(set(holding) & now)
        keys = _keys(path, alive, rows)
        versions = tuple(versions_with(path, holding))
        count = sum(holding[each] for each in alive)
        if holding:
            _record(profile, table, name, rows, order, keys=keys, versions=versions, count=count)
        reach("erasure.after_record")
        if alive:
            _commit(table, rows, rename=rename)
        reach("erasure.after_commit")
        for each in holding:
            Path(path, each).unlink(missing_ok=True)
        reach("erasure.after_files")
        _clean_log(path)
    return Erased(name, count, len(holding), tuple(sorted(keys)), versions)


def _files_with(path: str, rows: RowFilter) -> dict[str, int]:
    """Every data file in the folder that holds such rows, with their number."""
    table = DeltaTable(path)
    counts = {
        file: len(scan(_dataset(table, path, file), rows.columns, rows.arrow))
        for file in sorted(on_disk(path))
    }
    return {file: count for file, count in counts.items() if count}


def _dataset(table: DeltaTable, path: str, file: str) -> ds.Dataset:
    """One data file with the table's columns, those of its partition too."""
    schema = pa.schema(table.schema().to_arrow())
    parts = pa.schema([schema.field(name) for name in table.metadata().partition_columns])
    return ds.dataset(
        f"{path}/{file}",
        schema=schema,
        format="parquet",
        partitioning=ds.partitioning(parts, flavor="hive") if len(parts) else None,
        partition_base_dir=path,
    )


def _keys(path: str, files: Iterable[str], rows: RowFilter) -> dict[str, int]:
    """Stage keys with the rows that each loses; empty for a source."""
    table = DeltaTable(path)
    names = {each.name for each in table.schema().fields}
    column = next((each for each in _KEYS if each in names), None)
    counts: dict[str, int] = {}
    for file in files if column else ():
        part = _dataset(table, path, file)
        for key in scan(part, [str(column)], rows.arrow)[str(column)].to_pylist():
            counts[str(key)] = counts.get(str(key), 0) + 1
    return counts


def _record(
    profile: Profile,
    table: DeltaTable,
    name: str,
    rows: RowFilter,
    order: Order,
    *,
    keys: Mapping[str, int],
    versions: tuple[int, ...],
    count: int,
) -> None:
    """Write the erasure down before it happens: a number that changes is never unexplained."""
    erasure = uuid.uuid4().hex
    same = {
        "erasure": erasure,
        "table": name,
        "table_id": str(table.metadata().id),
        "versions": list(versions),
        "matched": ", ".join(rows.columns),
        "reason": order.reason.strip(),
        "requested_by": order.requested_by.strip(),
        "recorded_at": datetime.now(UTC),
    }
    lines = [same | {"key": key, "rows": lost} for key, lost in sorted(keys.items())]
    written = pa.Table.from_pylist(lines or [same | {"key": None, "rows": count}], schema=ERASURES)
    append_once(profile.record_root, "erasures", f"erasure:{erasure}", written)


def _commit(table: DeltaTable, rows: RowFilter, *, rename: bool) -> None:
    marked = CommitProperties(custom_metadata={_MARK: "1"})
    if rename:
        name = f"{_HIDDEN}:{uuid.uuid4().hex}"
        table.update(predicate=rows.sql, new_values={"cell": name}, commit_properties=marked)
    else:
        table.delete(rows.sql, commit_properties=marked)


def _clean_log(path: str) -> None:
    """Take conditions of erasures and statistics of deleted files out of the log.

    Checkpoints hold the same statistics: a new one is written, and the older ones go where the
    log reaches back without them. Checksums (Hadoop's and Delta's) go too: they are optional.
    """
    changed, first = False, None
    for version, file, actions in commits(path):
        first = version if first is None else first
        cleaned = [_cleaned(action, path) for action in actions]
        if cleaned != actions:
            changed = True
            draft = file.with_suffix(".draft")
            lines = "".join(json.dumps(each, separators=(",", ":")) + "\n" for each in cleaned)
            draft.write_text(lines, encoding="utf-8")
            file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
            os.replace(draft, file)
    if not changed:
        return
    log = Path(path, "_delta_log")
    for each in (*log.glob("*.crc"), *log.glob(".*.crc")):
        each.unlink(missing_ok=True)
    table = DeltaTable(path)
    table.create_checkpoint()
    for each in log.glob("*.checkpoint*.parquet") if first == 0 else ():
        if int(each.name.partition(".")[0]) < table.version():
            each.unlink(missing_ok=True)


def _cleaned(action: dict[str, Any], path: str) -> dict[str, Any]:
    info = action.get("commitInfo")
    if info and _MARK in info and info["operationParameters"].get("predicate") != _HIDDEN:
        parameters = info["operationParameters"] | {"predicate": _HIDDEN}
        return {"commitInfo": info | {"operationParameters": parameters}}
    add = action.get("add")
    if add and add.get("stats") and not Path(path, add["path"]).exists():
        return {"add": add | {"stats": None}}
    return action
