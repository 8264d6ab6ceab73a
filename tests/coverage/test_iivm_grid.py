"""The committed study of IIVM's standard error: it follows from its rows, and says where from."""

from __future__ import annotations

import numpy as np
import pytest

from tests.coverage import committed, grid, iivm_parts
from tests.coverage.iivm import FAMILY, METHODS

CONFIG, CELLS = grid.read(grid.HERE / "iivm.yaml")


def test_the_summary_is_whole_and_follows_from_the_rows() -> None:
    found = committed.rows("iivm_summary")
    assert {(row["cell"], row["method"]) for row in found} == {
        (cell.name, method) for cell in CELLS for method in METHODS
    }
    assert {(row["repetitions"], row["failed"]) for row in found} == {("1000", "0")}
    assert committed.summarised(CELLS, FAMILY) == found


def test_all_cells_pass_but_the_wide_one() -> None:
    for row in committed.rows("iivm_summary"):
        wide = (row["cell"], row["method"]) == ("linear-500-linear", "iivm")
        assert row["passed"] == str(not wide)


def test_the_draws_are_those_of_the_models_grid() -> None:
    """So that the known propensity is the only difference from the cell that is too wide."""
    ours = {row["rep"]: row for row in committed.rows("iivm") if row["cell"] == "linear-500-linear"}
    for row in committed.rows("models")[:50]:
        if row["cell"] == "linear-500-linear":
            assert float(row["iivm_theta"]) == pytest.approx(
                float(ours[row["rep"]]["iivm_theta"]), rel=1e-5
            )


def test_two_fits_together_make_it_wide_and_neither_alone() -> None:
    small = {row["fitted"]: row for row in committed.rows("iivm_parts") if row["n"] == "500"}
    for fitted, row in small.items():
        ratio, error = float(row["se_over_sd"]), float(row["mc_se"])
        if {"g", "m"} <= set(fitted):
            assert ratio > 1.0 + 2.5 * error
        else:
            assert abs(ratio - 1.0) < 2.5 * error


def test_a_draw_is_what_it_was() -> None:
    rng = np.random.default_rng(5)
    thetas = [iivm_parts.repeat(rng, 500) for _ in range(40)]
    found = np.array(thetas)
    assert found.shape == (40, len(iivm_parts.FITTED), 2)
    assert np.abs(found[:, :, 0].mean(axis=0) - 0.5).max() < 0.12
