"""What the file statistics of a pinned table say of a column, read without an engine.

Statistics may be missing, and are bounds only: files with deleted rows keep them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from jobs.lake import Pin, open_table


def latest(pin: Pin, column: str) -> tuple[bool, datetime | None]:
    """The largest time in a column.

    Returns
    -------
    tuple
        Whether the statistics answer, and the answer; None where the table holds no time.
    """
    table = open_table(pin.path, pin.version)
    if "deletionVectors" in (table.protocol().reader_features or []):
        return False, None  # the row that was the last may be deleted
    files = pa.table(table.get_add_actions(flatten=True))
    nulls = list(_values(files, "null_count", column))
    rows = files["num_records"].to_pylist() if "num_records" in files.column_names else []
    if len(nulls) == len(rows) == files.num_rows:  # a file of NULLs has no largest time
        kept = [null is None or null != count for null, count in zip(nulls, rows, strict=True)]
        files = files.filter(pa.array(kept, pa.bool_()))
    if files.num_rows == 0:
        return True, None
    largest = list(_values(files, "max", column))
    times = [_utc(value) for value in largest if isinstance(value, datetime)]
    return (True, max(times)) if times and len(times) == len(largest) else (False, None)


def magnitude(pin: Pin, column: str) -> tuple[float, int] | None:
    """A bound of a column's absolute values and the number of rows; None where unknown."""
    files = pa.table(open_table(pin.path, pin.version).get_add_actions(flatten=True))
    if files.num_rows == 0 or "num_records" not in files.column_names:
        return None
    ends = [*_values(files, "min", column), *_values(files, "max", column)]
    sizes = [abs(float(end)) for end in ends if isinstance(end, int | float)]
    rows = files["num_records"].to_pylist()
    known = len(sizes) == 2 * files.num_rows and None not in rows
    if not known or not all(math.isfinite(size) for size in sizes):
        return None
    return max(sizes), sum(rows)


def _values(files: pa.Table, which: str, column: str) -> Iterator[Any]:
    """The statistic of each file; nothing where the table keeps none of the column."""
    names = {name.casefold(): name for name in files.column_names}
    name = names.get(f"{which}.{column}".casefold())
    yield from files[name].to_pylist() if name else ()


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
