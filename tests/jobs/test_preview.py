"""A look at the units, on a real Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from conf.load import load_study
from estimators.errors import ContractError, StudyError
from jobs.preview import _column, _overlap, newest_window, preview
from tests.jobs import prebuilt


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prebuilt.write_lake(tmp_path)
    return tmp_path


def together(home: Path) -> Any:
    """A profile that leaves the session's Spark running."""
    return prebuilt.place(home).model_copy(update={"engines": "together"})


def test_values_that_a_run_refuses_are_counted(home: Path) -> None:
    study = load_study(str(prebuilt.write_study(home))).study
    ages = pa.array([40.0, None, float("nan"), float("inf"), 40.0])
    seen = _column(pa.table({"age": ages}), study, "age")
    assert (seen.nulls, seen.not_finite) == (1, 2)
    seen = _column(pa.table({"age": pa.array([1, None])}), study, "age")
    assert (seen.nulls, seen.not_finite) == (1, 0)


def test_the_newest_window_is_the_last_that_the_sources_fill(home: Path) -> None:
    loaded = load_study(str(prebuilt.write_study(home)))
    assert newest_window(loaded, prebuilt.place(home)).label == "2024-03"
    text = prebuilt.STUDY.replace(', watermark: "max(at)"', "")
    by_rows = load_study(str(prebuilt.write_study(home, text)))
    assert newest_window(by_rows, prebuilt.place(home)).label == "2024-03", "not by commit time"
    later = text.replace("{spend: continuous}", "{spend: {kind: continuous, horizon: 1 day}}")
    waiting = load_study(str(prebuilt.write_study(home, later)))
    assert newest_window(waiting, prebuilt.place(home)).label == "2024-02"


def test_crude_overlap_is_even_without_confounding_and_small_with_it() -> None:
    rng = np.random.default_rng(3)
    age = rng.normal(size=4000)
    rows = pa.table({"age": age, "city": [("a", "b", None)[i % 3] for i in range(4000)]})
    chance = {"even": np.full(4000, 0.5), "strong": 1 / (1 + np.exp(-4 * age))}
    found = {
        name: _overlap(rows, ["age", "city"], (rng.random(4000) < p).astype(float))
        for name, p in chance.items()
    }
    assert min(found["even"][0].values()) > 0.98
    assert found["even"][1] == 0.0
    assert max(found["strong"][0].values()) < 0.3
    assert found["strong"][1] > 0.05


@pytest.mark.engines
def test_rows_nulls_arms_and_overlap(home: Path, spark: Any) -> None:
    file = prebuilt.write_study(home)
    found = preview(prebuilt.resolved(file, "2024-02", together(home)), together(home))
    source = prebuilt.orders("2024-02").to_pylist()
    assert found.complete
    assert found.units == 240, "239 of February, and one of January's last hour"
    assert found.clusters == 30
    columns = {each.name: each for each in found.columns}
    assert (columns["age"].role, columns["age"].nulls) == ("covariate", 0)
    (coupon,) = found.treatments
    assert sum(arm.units for arm in coupon.arms) == 240
    treated = [row["spend"] for row in source[:-1] if row["coupon"]]
    assert coupon.arms[1].units - len(treated) in (0, 1)
    assert 0.3 < min(coupon.ess_share.values()) <= 1
    assert not (home / "record").exists()
    assert not (home / "features").exists()


@pytest.mark.engines
def test_a_limited_look_says_so(home: Path, spark: Any) -> None:
    file = prebuilt.write_study(home)
    resolved = prebuilt.resolved(file, "2024-02", together(home))
    found = preview(resolved, together(home), most=50)
    assert (found.units, found.complete) == (50, False)
    exact = preview(resolved, together(home), most=240)
    assert (exact.units, exact.complete) == (240, True)


@pytest.mark.engines
def test_what_the_features_refuse_the_preview_refuses(home: Path, spark: Any) -> None:
    place = together(home)
    bad = prebuilt.STUDY.replace("age, coupon", "rand() AS age, coupon")
    with pytest.raises(StudyError):
        preview(prebuilt.resolved(prebuilt.write_study(home, bad), "2024-02", place), place)
    none = prebuilt.STUDY.replace("WHERE at", "WHERE age > 900 AND at")
    with pytest.raises(ContractError) as raised:
        preview(prebuilt.resolved(prebuilt.write_study(home, none), "2024-02", place), place)
    assert raised.value.code == "empty_window"
