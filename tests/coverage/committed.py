"""The committed results of a family of cells, as its tests read them."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from tests.coverage.grid import BINARY, HERE, Cell, Family, summarise

Rows = list[dict[str, str]]


def rows(name: str) -> Rows:
    """The rows of ``results/<name>.csv``."""
    with (HERE / "results" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summarised(cells: Sequence[Cell], family: Family = BINARY) -> Rows:
    """What the family's summary says, from its rows, as it is written."""
    path = HERE / "results" / f"{family.stem}.csv"
    return [
        {key: str(value) for key, value in row.items()} for row in summarise(cells, path, family)
    ]


def repetition(name: str, cell: Cell, rep: int) -> Rows:
    """The rows of one repetition of a cell."""
    return [row for row in rows(name) if (row["cell"], row["rep"]) == (cell.name, str(rep))]
