"""Delta tables: pins of the tables that we read, commits to the tables that we write."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from estimators.errors import (
    ContractError,
    PlatformError,
    RetryableError,
    SourceError,
    Where,
    first_line,
)
from jobs.contracts import RECORD, SCHEMA_VERSION
from jobs.merging import merge_small

_ATTEMPTS = 60
SCHEMA_PROPERTY = "causeway.schemaVersion"
_REPORT = "this is a fault of Causeway: nothing was written; report it with the study"
_RETENTION = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableDeletionVectors": "false",
}


@dataclass(frozen=True, slots=True)
class Pin:
    """A source table at one version.

    Attributes
    ----------
    name
        The source's name in the study.
    path
        Absolute path or URI; never stored.
    table_id
        Delta's own id of the table, which survives copying and moving.
    version
        The pinned version.
    committed_at
        Commit time of that version, UTC.
    """

    name: str
    path: str
    table_id: str
    version: int
    committed_at: datetime


def open_table(path: str, version: int | None = None) -> DeltaTable:
    """Open a Delta table, at a version if one is given.

    Raises
    ------
    SourceError
        No Delta table there (``source_gone``), or the version is gone (``version_gone``).
    RetryableError
        The object store does not answer (``storage_unreachable``).
    """
    table = Path(path).name
    try:
        opened = DeltaTable(path)
    except (TableNotFoundError, DeltaError, OSError) as error:
        if isinstance(error, OSError) and "://" in path:
            raise _unreachable(path, error) from error
        raise SourceError(
            f"no readable Delta table at {path}: {first_line(error, 200)}",
            where=Where(table=table),
            remedy="check `table:` of the source and the profile's lake",
        ) from error
    if version is None or version == opened.version():
        return opened
    newest = opened.version()
    try:
        opened.load_as_version(version)
    except (DeltaError, OSError, ValueError) as error:
        raise SourceError(
            f"version {version} cannot be read; the newest is {newest}",
            code="version_gone",
            where=Where(table=table, version=version),
            remedy="pin a version that exists, or restore the removed files",
        ) from error
    return opened


def pin(name: str, path: str, version: int | None = None) -> Pin:
    """Pin a source: the given version, or the newest."""
    table = open_table(path, version)
    pinned = table.version()
    return Pin(name, path, str(table.metadata().id), pinned, _committed_at(path, name, pinned))


def _committed_at(path: str, name: str, version: int) -> datetime:
    """Commit time of a version, read off the newest log.

    `history` of a table that was loaded at an older version shows the newest commits under the
    older numbers.
    """
    newest = DeltaTable(path)
    for entry in newest.history(newest.version() - version + 1):
        if entry["version"] == version:
            return datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
    raise SourceError(
        "its commit is empty, or no longer in the table's log",
        code="version_gone",
        where=Where(table=name, version=version),
        remedy="pin a newer version",
    )


def record_path(record_root: str, name: str) -> str:
    """Where a record table lies."""
    return f"{record_root}/{name}"


def exists(path: str) -> bool:
    """Whether a Delta table is there.

    Raises
    ------
    RetryableError
        The object store does not answer (``storage_unreachable``).
    """
    remote = "://" in path
    if not remote and not os.path.isdir(path):
        return False  # delta-rs raises where a file or a device stands instead
    try:
        return DeltaTable.is_deltatable(path)
    except OSError as error:
        if not remote:
            raise
        raise _unreachable(path, error) from error


def _unreachable(path: str, error: OSError) -> RetryableError:
    return RetryableError(
        f"the storage of {path} does not answer: {first_line(error, 200)}",
        code="storage_unreachable",
        where=Where(table=Path(path).name),
        remedy="check its address, the network and the credentials in the environment, then run"
        " again",
    )


def committed_version(path: str, key: str) -> int | None:
    """Application transaction version of `key` in the table's log, None where it never wrote."""
    return DeltaTable(path).transaction_version(key) if exists(path) else None


def append_once(record_root: str, name: str, key: str, rows: pa.Table) -> bool:
    """Append `rows` to a record table unless `key` already did. One atomic commit.

    Safe against a crash (the commit happens or not) and against a second process with the same
    key: the commit is tried at exactly the next version, and the key is read again after a lost
    race.

    Returns
    -------
    bool
        True where this call wrote, False where the key was there.
    """
    path = record_path(record_root, name)
    data = conform(rows, RECORD[name], name)
    _create(path, RECORD[name], name)
    properties = CommitProperties(app_transactions=[Transaction(key, 1)], max_commit_retries=0)
    for _ in range(_ATTEMPTS):
        table = DeltaTable(path)
        check_schema(table, name)
        if table.transaction_version(key) is not None:
            return False
        try:
            write_deltalake(table, data, mode="append", commit_properties=properties)
        except CommitFailedError:
            continue
        merge_small(path, table)
        return True
    raise RetryableError(
        f"{_ATTEMPTS} other commits were faster",
        code="commit_contention",
        where=Where(table=name),
        remedy="run again",
    )


def _create(path: str, schema: pa.Schema, name: str) -> None:
    if exists(path):
        return
    os.makedirs(path, exist_ok=True)
    settings = {**_RETENTION, SCHEMA_PROPERTY: str(SCHEMA_VERSION)}
    DeltaTable.create(
        path,
        schema,
        mode="ignore",
        name=name,
        configuration=settings,
        raise_if_key_not_exists=False,  # our own property, beside Delta's
    )


def conform(rows: pa.Table, schema: pa.Schema, name: str) -> pa.Table:
    """Put `rows` into the contract's column order and types; the contract's nulls are enforced."""
    try:
        data = rows.select(schema.names).cast(schema)
    except (KeyError, ValueError, pa.ArrowInvalid) as error:
        raise ContractError(
            f"rows do not fit the table: {error}",
            code="schema",
            where=Where(table=name),
            remedy=_REPORT,
        ) from error
    for column in schema:
        if not column.nullable and data[column.name].null_count:
            raise ContractError(
                "null where the contract has none",
                code="schema",
                where=Where(table=name, column=column.name),
                remedy=_REPORT,
            )
    return data


def read(
    path: str,
    columns: Sequence[str] | None = None,
    where: ds.Expression | None = None,
    version: int | None = None,
) -> pa.Table:
    """Read a table of ours: chosen columns, filtered, at a version. Row order is not defined."""
    return _scan(open_table(path, version), columns, where)


def _scan(
    table: DeltaTable, columns: Sequence[str] | None, where: ds.Expression | None
) -> pa.Table:
    with readable(table):
        return scan(table.to_pyarrow_dataset(), columns, where)


@contextmanager
def readable(table: DeltaTable) -> Iterator[None]:
    """Raise what goes wrong while files are read as an error of ours.

    Raises
    ------
    SourceError
        ``version_gone`` or ``unreadable_file``.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(
            "files of this version are no longer there",
            code="version_gone",
            where=Where(table=Path(table.table_uri).name, version=table.version()),
            remedy="they were removed by a vacuum or an erasure: `causeway maintain` lists both;"
            " read a version that exists",
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"a file of this version cannot be read: {first_line(error, 200)}",
            code="unreadable_file",
            where=Where(table=Path(table.table_uri).name, version=table.version()),
            remedy="restore the file from a copy of the home; `causeway reproduce` computes a"
            " recorded run again from its sources",
        ) from error


def scan(
    data: ds.Dataset, columns: Sequence[str] | None = None, where: ds.Expression | None = None
) -> pa.Table:
    """Read a dataset, files with string views among them.

    delta-rs writes such files when it deletes or updates; Arrow has no comparison of a string view
    with a string, so their rows are filtered after they were read.
    """
    names = list(columns) if columns is not None else None
    try:
        return data.to_table(columns=names, filter=where)
    except pa.ArrowNotImplementedError:
        parts = [_fragment(each, data.schema, where) for each in data.get_fragments()]
    found = pa.concat_tables(parts)
    return found if names is None else found.select(names)


def _fragment(part: ds.Fragment, schema: pa.Schema, where: ds.Expression | None) -> pa.Table:
    if not any(pa.types.is_string_view(each.type) for each in part.physical_schema):
        return part.to_table(schema=schema, filter=where)
    rows = part.to_table(schema=schema).cast(schema)
    return rows if where is None else rows.filter(where)


def read_record(
    record_root: str,
    name: str,
    where: ds.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read a record table; empty, with the right schema, where nothing was ever written."""
    path = record_path(record_root, name)
    if not exists(path):
        schema = RECORD[name]
        return schema.empty_table().select(list(columns or schema.names))
    table = open_table(path)
    check_schema(table, name)
    return _scan(table, columns, where)


def schema_version(table: DeltaTable) -> int:
    """Version of the record's schema that a table of the record was written with."""
    return int((table.metadata().configuration or {}).get(SCHEMA_PROPERTY, 1))


def check_schema(table: DeltaTable, name: str) -> None:
    """Refuse a record that another version of Causeway wrote, before anything is read into it.

    Raises
    ------
    PlatformError
        ``record_older`` (it can be migrated) or ``record_newer``.
    """
    found = schema_version(table)
    if found == SCHEMA_VERSION:
        return
    older = found < SCHEMA_VERSION
    raise PlatformError(
        f"the record has schema {found}, this Causeway writes {SCHEMA_VERSION}",
        code="record_older" if older else "record_newer",
        where=Where(table=name),
        remedy="copy the home, then `causeway maintain --migrate`"
        if older
        else "install the release of Causeway that wrote it, or a newer one",
    )


def field_in(column: str, values: Iterable[str]) -> ds.Expression:
    """Filter: `column` is one of `values`."""
    return ds.field(column).isin(list(values))
