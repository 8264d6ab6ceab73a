"""The committed coverage with Gram nuisances: it follows from its rows, and passes as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.coverage import apo_parts, committed, grid
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
PARTS = committed.rows("apo_parts")


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


def test_the_wide_are_wide_where_both_nuisances_are_fitted() -> None:
    assert {row["cell"] for row in PARTS} == {cell for cell, _ in WIDE}
    for row in PARTS:
        ratio, error = float(row["se_over_sd"]), float(row["mc_se"])
        if row["fitted"] != "g+m":
            assert abs(ratio - 1.0) < 2.5 * error
        elif (row["cell"], row["method"]) in WIDE:
            assert 1.0 + 2.5 * error < ratio < 1.1


def test_parts_are_of_the_grids_draws() -> None:
    (cell,) = (each for each in CELLS if each.name == apo_parts.WIDE[0])
    (recorded,) = committed.repetition("gram", cell, 3)
    found = apo_parts.repeat(CONFIG, cell, cell.seeds()[3])
    for method, chosen, theta, se in found:
        if chosen == "gm":
            assert theta == pytest.approx(float(recorded[f"{method}_theta"]), rel=1e-5)
            assert se == pytest.approx(float(recorded[f"{method}_se"]), rel=1e-5)


def test_the_truth_of_arms_is_what_was_drawn() -> None:
    cell = replace(CELLS[0], world="linear", n=200_000)
    units = draw(cell, 5, np.random.SeedSequence(4))
    true = apo_parts.truths(units, cell)
    for name in ("arm=a", "arm=b", "arm=c"):
        in_arm = units.treatments[name]
        off = in_arm - true[name]
        assert abs(off.mean()) < 4 * off.std() / np.sqrt(units.n)
        noise = (units.outcomes["v"] - true[f"v|{name}"])[in_arm == 1.0]
        assert noise.std() == pytest.approx(1.0, abs=0.02)
        assert abs(noise.mean()) < 4 / np.sqrt(len(noise))


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
