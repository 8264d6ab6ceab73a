"""The committed coverage with Gram nuisances: it follows from its rows, and passes as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.coverage import committed, grid
from tests.coverage.gram import FAMILY, METHODS, fit, target
from tests.coverage.models import draw
from tests.estimators.samples import crossfit, effect, estimates

CONFIG, CELLS = grid.read(grid.HERE / "gram.yaml")
SUMMARY = committed.rows("gram_summary")


WIDE = {
    ("linear-500-lines", "apo_mean"),
    ("sparse_20-500-lines_500", "apo_ate"),
    ("sparse-2000-lines", "apo_ate"),
}
"""Known to be conservative where both nuisances of an arm are fitted: see apo_parts.py."""


def test_every_cell_is_there_in_full() -> None:
    rows = {(row["cell"], row["method"]): row for row in SUMMARY}
    assert set(rows) == {(cell.name, method) for cell in CELLS for method in METHODS}
    for row in rows.values():
        count = 300 if row["bad"] == "True" else 1000
        assert (int(row["repetitions"]), int(row["failed"])) == (count, 0)


@pytest.mark.parametrize("row", SUMMARY, ids=lambda row: f"{row['cell']}-{row['method']}")
def test_cells_pass_and_the_wide_ones_are_wide(row: dict[str, str]) -> None:
    assert row["passed"] == str(grid.passes(row))
    if row["bad"] == "True":
        return
    if (row["cell"], row["method"]) in WIDE:
        assert 1.07 < float(row["se_over_sd"]) < 1.15
        row = row | {"se_over_sd": "1.0"}
    assert grid.passes(row)


def test_columns_can_be_too_many_for_the_rows() -> None:
    rows = {(row["cell"], row["method"]): row for row in SUMMARY}
    chosen = [cell.name for cell in CELLS if cell.bad]
    for name in chosen:
        for method in ("plr", "ate", "att"):
            row = rows[name, method]
            assert float(row["bias_over_sd"]) > grid.BIAS
            assert not grid.passes(row)


def test_the_summary_follows_from_the_rows() -> None:
    assert committed.summarised(CELLS, FAMILY) == SUMMARY


@pytest.mark.parametrize("cell", CELLS[:4], ids=lambda cell: cell.name)
def test_a_row_can_be_had_again(cell: grid.Cell) -> None:
    (recorded,) = committed.repetition("gram", cell, 7)
    again = grid.repeat(CONFIG, cell, 7, cell.seeds()[7], FAMILY)
    for name in (f"{method}_{figure}" for method in METHODS for figure in grid.FIGURES):
        assert float(again[name]) == pytest.approx(float(recorded[name]), rel=1e-5)


@pytest.mark.parametrize("world", ["sparse", "nonlinear"])
def test_truths_of_groups(world: str) -> None:
    cell = replace(CELLS[0], world=world, n=200_000)
    units = draw(cell, 5, np.random.SeedSequence(1))
    gain = 0.5 + 0.4 * units.design.values[:, 0]
    for code, group in enumerate(units.groups["g"].values):
        mean = gain[units.groups["g"].codes == code].mean()
        assert mean == pytest.approx(target(cell, f"gate_{group}"), abs=0.005)


def test_without_a_penalty_the_linear_learner_agrees() -> None:
    """Then the scale of columns does not matter; the engine's propensities keep one of 1e-8."""
    units = draw(replace(CELLS[0], world="linear"), 5, np.random.SeedSequence(3))
    gram = {"learner": "gram", "segments": 0, "penalty": 0.0}
    found = []
    for learner in (gram, {"learner": "linear", "penalty": 0.0}):
        chosen = {"outcome_learner": learner, "treatment_learner": learner}
        specs = tuple(effect("irm", each, outcome="h", **chosen) for each in ("ate", "att"))
        sums = fit(units, specs, "") if "segments" in learner else crossfit(units, specs)[1]
        found.append(estimates(units, sums, drawn=False))
    for name, ours in found[0].items():
        theirs = found[1][name]
        assert [ours.theta, ours.se] == pytest.approx([theirs.theta, theirs.se], abs=2e-8)
