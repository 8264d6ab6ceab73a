"""The committed coverage grid: its figures pass, follow from its rows, and can be run again."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from tests.coverage import committed, grid
from tests.coverage.designs import WORLDS, draw, truth

CONFIG, CELLS = grid.read(grid.HERE / "grid.yaml")
SUMMARY = committed.rows("grid_summary")


WIDE = {("sparse-500-lasso_500", "ate"), ("sparse-500-lasso_500", "att")}
"""Known to be conservative: 50 covariates for arms of 200 rows, see grid.yaml."""


def test_every_cell_is_there_in_full() -> None:
    rows = {(row["cell"], row["method"]): row for row in SUMMARY}
    assert set(rows) == {(cell.name, method) for cell in CELLS for method in grid.METHODS}
    for cell in CELLS:
        for method in grid.METHODS:
            row = rows[cell.name, method]
            assert int(row["repetitions"]) + int(row["failed"]) == cell.repetitions
            assert int(row["failed"]) == 0


@pytest.mark.parametrize("row", SUMMARY, ids=lambda row: f"{row['cell']}-{row['method']}")
def test_cells_pass_and_the_bad_one_does_not(row: dict[str, str]) -> None:
    assert row["passed"] == str(grid.passes(row))
    if row["bad"] == "True":
        assert not grid.passes(row)
        assert float(row["coverage"]) < 0.5
        return
    assert abs(float(row["bias_over_sd"])) <= 0.15
    assert 0.925 <= float(row["coverage"]) <= 0.975
    if (row["cell"], row["method"]) in WIDE:
        assert 1.07 < float(row["se_over_sd"]) < 1.15
        return
    assert 0.93 <= float(row["se_over_sd"]) <= 1.07
    assert row["passed"] == "True"


def test_the_summary_follows_from_the_rows() -> None:
    assert committed.summarised(CELLS) == SUMMARY


def test_monte_carlo_errors() -> None:
    for row in SUMMARY:
        p, n = float(row["coverage"]), int(row["repetitions"])
        assert float(row["coverage_mc_se"]) == pytest.approx(math.sqrt(p * (1 - p) / n), abs=1e-4)


@pytest.mark.parametrize(
    "cell",
    [
        each
        for each in CELLS
        if each.name.startswith(("linear-500-lin", "nonlinear-", "interacted-"))
    ],
    ids=lambda cell: cell.name,
)
def test_a_row_can_be_had_again(cell: grid.Cell) -> None:
    """A repetition is a function of the cell's name and its number, and of the code."""
    (recorded,) = committed.repetition("grid", cell, 7)
    again = grid.repeat(CONFIG, cell, 7, cell.seeds()[7])
    for method in grid.METHODS:
        for figure in grid.FIGURES:
            column = f"{method}_{figure}"
            assert float(again[column]) == pytest.approx(float(recorded[column]), rel=1e-5)


def test_a_stopped_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = grid.Cell("linear", 60, "constant", 6)
    path = tmp_path / "grid.csv"
    grid.run(CONFIG, [cell], path)
    assert "minutes to go" in capsys.readouterr().out
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]))
    assert len(grid.done(path)) == 3
    grid.run(CONFIG, [cell], path)

    def without_seconds(text: list[str]) -> list[list[str]]:
        return sorted(line.strip().split(",")[:-2] for line in text)

    assert without_seconds(path.read_text().splitlines()) == without_seconds(lines)
    grid.run(CONFIG, [cell], path)
    assert len(path.read_text().splitlines()) == 7


def test_a_failed_repetition_is_a_row_with_its_error(tmp_path: Path) -> None:
    """Six units and five folds: an arm is too small, and nobody stops."""
    cell = grid.Cell("linear", 6, "constant", 2)
    grid.run(CONFIG, [cell], tmp_path / "grid.csv")
    with (tmp_path / "grid.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(row["error"] for row in rows)


def test_seeds_are_spawned_by_name() -> None:
    one, other = CELLS[0].seeds(), CELLS[1].seeds()
    states = {tuple(seed.generate_state(4).tolist()) for seed in one[:50] + other[:50]}
    assert len(states) == 100


@pytest.mark.parametrize("name", WORLDS)
def test_truths(name: str) -> None:
    """The estimands against a large draw of the world itself."""
    units = draw(WORLDS[name], 200_000, 5, np.random.SeedSequence(1))
    x, d = units.design.values[:, 0], units.treatments["d"]
    effects = units.outcomes["h"] - units.outcomes["y"]
    assert effects == pytest.approx(0.4 * x * d, abs=1e-12)
    assert (0.5 + 0.4 * x).mean() == pytest.approx(truth(WORLDS[name], "ate"), abs=0.004)
    treated = (0.5 + 0.4 * x)[d == 1].mean()
    assert treated == pytest.approx(truth(WORLDS[name], "att"), abs=0.004)
