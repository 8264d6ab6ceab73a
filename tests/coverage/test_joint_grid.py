"""The committed coverage of joint fits: it passes, and follows from its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.coverage import committed, grid
from tests.coverage.joint import FAMILY, TRUTHS, draw

CONFIG, CELLS = grid.read(grid.HERE / "joint.yaml")
SUMMARY = committed.rows("joint_summary")


def test_every_cell_is_there_in_full_and_passes() -> None:
    rows = {(row["cell"], row["method"]): row for row in SUMMARY}
    assert set(rows) == {(cell.name, method) for cell in CELLS for method in TRUTHS}
    for row in rows.values():
        assert (int(row["repetitions"]), int(row["failed"])) == (1000, 0)
        assert row["passed"] == "True"
        assert grid.passes(row)


def test_the_summary_follows_from_the_rows() -> None:
    assert committed.summarised(CELLS, FAMILY) == SUMMARY


@pytest.mark.parametrize("cell", [CELLS[0], CELLS[-1]], ids=lambda cell: cell.name)
def test_a_row_can_be_had_again(cell: grid.Cell) -> None:
    (recorded,) = committed.repetition("joint", cell, 7)
    again = grid.repeat(CONFIG, cell, 7, cell.seeds()[7], FAMILY)
    for name in (f"{method}_{figure}" for method in TRUTHS for figure in grid.FIGURES):
        assert float(again[name]) == pytest.approx(float(recorded[name]), rel=1e-5)


def test_truths() -> None:
    """Least squares on a large draw, with the covariates that confound."""
    units = draw(replace(CELLS[0], n=200_000), 5, np.random.SeedSequence(1))
    x = units.design.values
    columns = [units.treatments[name] for name in ("d", "t", "s")]
    found = np.linalg.lstsq(np.column_stack([*columns, x]), units.outcomes["y"])[0]
    assert found[:3] == pytest.approx(list(TRUTHS.values()), abs=0.015)
