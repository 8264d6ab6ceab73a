"""The committed coverage of arms, instruments and groups: it passes, follows from its rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.coverage import committed, grid
from tests.coverage.models import ARMS, FAMILY, METHODS, SHARES, draw, target

CONFIG, CELLS = grid.read(grid.HERE / "models.yaml")
SUMMARY = committed.rows("models_summary")

WIDE = ("linear-500-linear", "iivm")
"""Known to be conservative: noisy fits of small arms, see models.yaml."""


def test_every_cell_is_there_in_full() -> None:
    rows = {(row["cell"], row["method"]): row for row in SUMMARY}
    assert set(rows) == {(cell.name, method) for cell in CELLS for method in METHODS}
    for row in rows.values():
        assert (int(row["repetitions"]), int(row["failed"])) == (1000, 0)


@pytest.mark.parametrize("row", SUMMARY, ids=lambda row: f"{row['cell']}-{row['method']}")
def test_cells_pass_and_the_wide_one_is_wide(row: dict[str, str]) -> None:
    assert abs(float(row["bias_over_sd"])) <= 0.15
    assert 0.925 <= float(row["coverage"]) <= 0.975
    if (row["cell"], row["method"]) == WIDE:
        assert 1.07 < float(row["se_over_sd"]) < 1.15
        assert row["passed"] == "False"
        return
    assert 0.93 <= float(row["se_over_sd"]) <= 1.07
    assert row["passed"] == "True"


def test_the_summary_follows_from_the_rows() -> None:
    assert committed.summarised(CELLS, FAMILY) == SUMMARY


def test_a_row_can_be_had_again() -> None:
    cell = CELLS[0]
    (recorded,) = committed.repetition("models", cell, 7)
    again = grid.repeat(CONFIG, cell, 7, cell.seeds()[7], FAMILY)
    for method in METHODS:
        for figure in grid.FIGURES:
            column = f"{method}_{figure}"
            assert float(again[column]) == pytest.approx(float(recorded[column]), rel=1e-5)


def test_truths() -> None:
    """The estimands against a large draw of the world itself."""
    cell = replace(CELLS[0], n=400_000)
    units = draw(cell, 5, np.random.SeedSequence(1))
    x, d = units.design.values[:, 0], units.treatments["d"]
    gain = 0.5 + 0.4 * x
    for group, rows in (("low", x <= 0), ("high", x > 0)):
        assert gain[rows].mean() == pytest.approx(target(cell, f"gate_{group}"), abs=0.004)
        code = units.groups["g"].values.index(group)
        assert np.array_equal(units.groups["g"].codes == code, rows)
    assert gain[d == 0].mean() == pytest.approx(target(cell, "atu"), abs=0.004)
    assert (ARMS[2] + 0.4 * x).mean() == pytest.approx(target(cell, "apo_mean"), abs=0.004)
    e, z = units.treatments["e"], units.treatments["z"]
    taken = e[z == 1].mean() - e[z == 0].mean()
    assert taken == pytest.approx(SHARES["compliers"], abs=0.005)
    assert target(cell, "ato") == pytest.approx(0.5, abs=1e-6)  # the index is symmetric
