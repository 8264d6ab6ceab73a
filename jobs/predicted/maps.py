"""Published columns: one version of a Delta table a set of inputs, with what made it beside it."""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from conf.keys import numerics_label, platform_label
from conf.names import IDENTIFIER_RULE, is_identifier, listed, nearest
from conf.profile import Profile
from conf.windows import ALL
from estimators.errors import ContractError, RetryableError, UsageError, Where
from jobs import ledger
from jobs.lake import Pin, committed_version, open_table, pin
from jobs.ledger import Stage, StageName
from jobs.resolve import within_roots

_ATTEMPTS = 20
PROPERTY = "causeway.map"
"""Name in the commit's metadata of what made the version (JSON)."""


def source(name: str, table: str, version: int | None, profile: Profile) -> Pin:
    """Pin a table that a published column is made of.

    Raises
    ------
    UsageError
        The path lies outside the lake and the profile's roots.
    SourceError
        There is no such table, or no such version.
    """
    return pin(name, within_roots(table, profile), version)


def check_columns(pinned: Pin, *columns: str) -> None:
    """Refuse columns that a table does not have.

    Raises
    ------
    ContractError
        ``no_column``.
    """
    have = [field.name for field in open_table(pinned.path, pinned.version).schema().fields]
    for column in columns:
        if column not in have:
            close = nearest(column, have)
            raise ContractError(
                f"no column {column!r}" + (f"; did you mean {close!r}?" if close else ""),
                code="no_column",
                where=Where(table=pinned.name, version=pinned.version, column=column),
                remedy=f"choose one of {listed(have)}",
            )


def path_of(name: str, profile: Profile) -> str:
    """Where a published table lies: ``<lake>/maps/<name>``.

    Raises
    ------
    UsageError
        The name is no identifier.
    """
    if not is_identifier(name):
        raise UsageError(f"the name {name!r}", code="bad_name", remedy=f"write {IDENTIFIER_RULE}")
    return posixpath.join(profile.lake_root, "maps", name)


def publish(
    path: str,
    key: str,
    schema: pa.Schema,
    batches: Callable[[], Any],
    facts: Mapping[str, Any],
) -> int:
    """Commit the rows as one version of the table, unless the key did; its version.

    Parameters
    ----------
    batches
        Makes the rows' record batches: called again after a lost race.
    facts
        What made the version; it stands in the commit's metadata under `PROPERTY`.
    """
    properties = CommitProperties(
        custom_metadata={PROPERTY: json.dumps(facts, sort_keys=True), "causeway.key": key},
        app_transactions=[Transaction(key, 1)],
        max_commit_retries=0,
    )
    for _ in range(_ATTEMPTS):
        if committed_version(path, key) is not None:
            return _version_of(path, key)
        if "://" not in path:
            Path(path).mkdir(parents=True, exist_ok=True)
        try:
            write_deltalake(
                path, pa.RecordBatchReader.from_batches(schema, batches()), mode="overwrite",
                schema_mode="overwrite", commit_properties=properties,
            )  # fmt: skip
        except CommitFailedError:
            continue
    raise RetryableError(
        f"{_ATTEMPTS} other commits were faster",
        code="commit_contention",
        where=Where(table=posixpath.basename(path)),
        remedy="run again",
    )


def _version_of(path: str, key: str) -> int:
    """The version that the key committed: not the newest, where another came after it."""
    for entry in DeltaTable(path).history():
        if entry.get("causeway.key") == key:
            return int(entry["version"])
    return DeltaTable(path).version()


def record(
    name: StageName,
    key: str,
    place: tuple[str, int],
    *,
    rows: int,
    began: float,
    sources: Mapping[str, Pin],
    facts: Mapping[str, Any],
    profile: Profile,
) -> Stage:
    """Write the stage's row in the ledger: from here on the column is published."""
    table, version = place
    seconds = time.monotonic() - began
    stage = Stage(name, "computed", key, table, version, rows, seconds, key, facts)
    return ledger.commit(
        profile.record_root,
        stage,
        study=posixpath.basename(table),
        window=(ALL.start, ALL.end),
        sources={title: each.version for title, each in sources.items()},
        numerics=numerics_label(),
        platform=platform_label(),
    )
