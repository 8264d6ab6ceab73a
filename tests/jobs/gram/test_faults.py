"""Bad input is a named error, a failed effect, or does nothing; nothing is left behind."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from estimators.errors import (
    ContractError,
    NotEstimableError,
    PlatformError,
    UsageError,
)
from estimators.learners import Design, open_fold
from jobs import crossfit, estimate
from jobs.estimate import read_effects
from jobs.gram.blocks import Block, Blocks
from tests.jobs.gram import clinic

TEXT = (
    clinic.STUDY.replace(", by: [ward, ward*kind]", "")
    .replace("  cluster: person\n", "")
    .replace("repetitions: 2", "repetitions: 1")
)
Change = Callable[[pa.Table], pa.Table]


def column(name: str, values: Callable[[pa.Table], np.ndarray]) -> Change:
    def change(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index(name)
        return rows.set_column(at, name, pa.array(values(rows), from_pandas=True))

    return change


def number(rows: pa.Table, name: str) -> np.ndarray:
    return rows[name].to_numpy().copy()


def run(home: Path, change: Change, text: str = TEXT) -> dict[str, dict]:
    profile = clinic.place(home)
    file = clinic.write(home, change(clinic.visits([0, 1], a_day=300)), text)
    found, built = clinic.prebuild(file, profile)
    try:
        done = estimate.run(found, crossfit.run(found, built, profile), profile)
    finally:
        assert list((home / "tmp").iterdir()) == []
    return {row["effect_id"]: row for row in read_effects(profile.record_root, done.key)}


def same(rows: pa.Table) -> pa.Table:
    return rows


def test_constant_and_collinear_covariates_change_nothing(tmp_path: Path) -> None:
    """A constant column spans nothing new, nor does a copy on another scale, without a penalty."""
    text = TEXT.replace("segments: 3", "segments: 0, penalty: 0").replace("[age, bmi, ", "[age, ")
    plain = run(tmp_path / "plain", same, text)
    constant = run(tmp_path / "one", column("bmi", lambda rows: np.full(len(rows), 3.7)),
                   text.replace("[age", "[bmi, age"))  # fmt: skip
    copied = run(tmp_path / "two", column("bmi", lambda rows: 2.5 * number(rows, "age") - 7.1),
                 text.replace("[age", "[bmi, age"))  # fmt: skip
    for effect_id, row in plain.items():
        for other in (constant, copied):
            assert other[effect_id]["theta"] == pytest.approx(row["theta"], rel=1e-9, abs=1e-9)
            assert other[effect_id]["se"] == pytest.approx(row["se"], rel=1e-9)


def test_a_worker_that_does_not_see_the_home_says_so(tmp_path: Path) -> None:
    file = Blocks(str(tmp_path / "rows"), SimpleNamespace(rows=("dose",)), {})
    with pytest.raises(PlatformError, match="does not see the rows") as caught:
        file.read(Block(0, 0, array("q", [0, 5]), ""))
    assert caught.value.code == "home_not_shared"
    assert "CAUSEWAY_HOME" in caught.value.remedy


def gone(rows: pa.Table) -> np.ndarray:
    return np.full(len(rows), np.nan)


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("dose", lambda rows: np.full(len(rows), 1.3), "constant_treatment"),
        ("dose", lambda rows: 0.1 * number(rows, "age") + 2.0, "perfectly_predicted"),
        ("call", lambda rows: (np.arange(len(rows)) == 4).astype(float), "empty_arm"),
        ("cost", gone, "missing_outcome"),
        ("cost", lambda rows: 3.0 - 0.2 * number(rows, "age"), "outcome_in_covariates"),
    ],
)
def test_an_effect_that_cannot_be_had_fails_alone(tmp_path: Path, name, values, code) -> None:
    text = TEXT.replace("segments: 3", "segments: 0, penalty: 0")
    rows = run(tmp_path, column(name, values), text)
    assert len(rows) == 6
    for effect_id, row in rows.items():
        hit = name in effect_id.split(".")
        assert row["error_code"] == (code if hit else None), effect_id
        assert row["status"] == ("failed" if hit else "ok")


def test_a_treatment_that_another_gives_away_fails_with_it(tmp_path: Path) -> None:
    text = TEXT.replace("segments: 3", "segments: 0, penalty: 0").replace(", marginal: true", "")
    with pytest.raises(NotEstimableError, match=r"dose\.cost: collinear_treatments"):
        run(tmp_path, column("dose", lambda rows: 2.0 - 0.5 * number(rows, "call")), text)


def test_no_effect_at_all(tmp_path: Path) -> None:
    text = TEXT.replace("{dose: continuous, call: binary}", "{dose: continuous}")
    text = text.replace(", marginal: true", "")
    with pytest.raises(NotEstimableError, match="constant_treatment"):
        run(tmp_path, column("dose", lambda rows: np.zeros(len(rows))), text)


def test_infinite_values(tmp_path: Path) -> None:
    def infinite(rows: pa.Table) -> np.ndarray:
        values = number(rows, "age")
        values[[3, 8]] = np.inf
        return values

    with pytest.raises(ContractError, match=r"2 of .* infinite") as caught:
        run(tmp_path, column("age", infinite))
    assert (caught.value.code, caught.value.where.column) == ("not_finite", "age")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(PlatformError) as caught:
        run(tmp_path, same)
    assert caught.value.code == "disk_full"


def test_no_path_of_rows_takes_the_learner() -> None:
    """It would otherwise be whatever comes last."""
    design, index = Design(np.zeros((4, 1)), ("x",), {}), np.arange(2)
    with pytest.raises(UsageError) as caught:
        open_fold({"learner": "gram"}, design, index, index + 2, np.ones(4))
    assert caught.value.code == "learner_of_sums"
