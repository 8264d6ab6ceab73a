"""The record's schema version: from the one that a home was written with to today's.

A step adds columns that may be null, or rewrites a table's rows; both keep what the log says of
keys, so that nothing is ever appended twice. Each table goes version by version, its property
last: a migration that was killed is run again and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError

from estimators.errors import PlatformError, RetryableError, Where
from jobs.contracts import RECORD, SCHEMA_VERSION
from jobs.failpoints import reach
from jobs.lake import SCHEMA_PROPERTY, exists, open_table, record_path, schema_version

_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """What one table needs to reach the next version.

    Attributes
    ----------
    columns
        Nullable columns to add; rows that are there have null in them.
    rewrite
        All rows of the old version to all rows of the new one.
    """

    columns: tuple[pa.Field, ...] = ()
    rewrite: Callable[[pa.Table], pa.Table] | None = field(default=None)


Steps = Mapping[int, Mapping[str, Step]]

STEPS: Steps = {}
"""Version to the steps that lead to it, by table. Version 1 is the first."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A table that was brought up to date."""

    table: str
    before: int
    after: int


def outdated(record_root: str, target: int = SCHEMA_VERSION) -> dict[str, int]:
    """Tables of the record that are older than `target`, with their versions."""
    found = {
        name: schema_version(open_table(record_path(record_root, name)))
        for name in RECORD
        if exists(record_path(record_root, name))
    }
    return {name: version for name, version in found.items() if version < target}


def migrate(record_root: str, target: int = SCHEMA_VERSION, steps: Steps = STEPS) -> list[Migrated]:
    """Bring every table of the record to `target`. A second time there is nothing to do.

    Raises
    ------
    PlatformError
        No step leads to a version (``no_migration``).
    RetryableError
        Somebody keeps writing into the table.
    """
    done = []
    for name, before in sorted(outdated(record_root, target).items()):
        for version in range(before + 1, target + 1):
            if version not in steps:
                raise PlatformError(
                    f"no step leads from schema {version - 1} to {version}",
                    code="no_migration",
                    where=Where(table=name),
                    remedy="install the release that wrote the record, or one between",
                )
            _advance(record_path(record_root, name), name, version, steps[version].get(name))
        done.append(Migrated(name, before, target))
    return done


def _advance(path: str, name: str, version: int, step: Step | None) -> None:
    if step is not None:
        _add_columns(path, step.columns)
        reach("migration.after_columns")
        if step.rewrite is not None:
            _rewrite(path, name, version, step.rewrite)
    reach("migration.before_property")
    DeltaTable(path).alter.set_table_properties(
        {SCHEMA_PROPERTY: str(version)}, raise_if_not_exists=False
    )


def _add_columns(path: str, columns: Sequence[pa.Field]) -> None:
    table = DeltaTable(path)
    present = {each.name for each in table.schema().fields}
    missing = [each for each in columns if each.name not in present]
    if missing:
        fields: list[Field] = list(DeltaSchema.from_arrow(pa.schema(missing)).fields)
        table.alter.add_columns(fields)


def _rewrite(path: str, name: str, version: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace all rows in one commit, which carries the version: it is never done twice."""
    key = f"migration:{version}"
    properties = CommitProperties(app_transactions=[Transaction(key, 1)], max_commit_retries=0)
    for _ in range(_ATTEMPTS):
        table = DeltaTable(path)
        if table.transaction_version(key) is not None:
            return
        rows = change(table.to_pyarrow_table())
        try:
            write_deltalake(
                table, rows, mode="overwrite", schema_mode="overwrite", commit_properties=properties
            )
            return
        except CommitFailedError:
            continue
    raise RetryableError(
        "somebody keeps writing into the table",
        code="commit_contention",
        where=Where(table=name),
        remedy="stop runs and backfills, then migrate again",
    )
