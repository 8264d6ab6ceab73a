"""`plan`: what would be computed, why, and what it costs; no engine starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from conf import keys
from conf.changes import changes
from conf.keys import crossfit_inputs
from conf.load import parse_study
from jobs import crossfit, estimate
from jobs.windows import read_windows
from pipelines.plan import as_object, plan, text
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway

RECORDED = "2024-01"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("CAUSEWAY_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    prebuilt.write_lake(tmp_path)
    return tmp_path


@pytest.fixture
def study(home: Path) -> Path:
    """A study with one recorded window (not registered: that needs MLflow)."""
    file, place = prebuilt.write_study(home), prebuilt.place(home)
    prebuilt.prebuild(file, (RECORDED,), place)
    found = prebuilt.resolved(file, RECORDED, place)
    entries = read_windows(place.record_root, "orders").entries
    built = next(each.stage for (name, _), each in entries.items() if name == "features")
    estimate.run(found, crossfit.run(found, built, place), place)
    return file


def planned(home: Path, study: Path, **given: Any) -> dict[str, Any]:
    asked = {"window": None, "first": None, "last": None} | given
    return as_object(plan(str(study), prebuilt.place(home), **asked))


def words(found: dict[str, Any]) -> list[str]:
    return [change["words"] for change in found["windows"][0]["changes"]]


def test_what_is_recorded_changes_nothing_and_the_missing_stage_is_named(
    home: Path, study: Path
) -> None:
    (window,) = planned(home, study)["windows"]
    assert window["stages"] == ["register"]
    assert window["changes"] == []
    assert window["action"] == "skipped"
    assert window["keys"]["run"] == window["recorded"]


def test_a_source_that_moved_on_is_named_with_both_versions(home: Path, study: Path) -> None:
    prebuilt.write_month(home, "2024-04")
    found = planned(home, study)
    assert words(found) == ["source orders: version 2 -> 3"]
    assert found["windows"][0]["action"] == "skipped"
    assert found["windows"][0]["stages"] == ["features", "crossfit", "estimate", "register"]
    assert found["to_compute"] == 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("covariates: [age]", "covariates: [age, shop]", "covariate shop is new"),
        ("age, coupon", "age, 1 AS one, coupon", "the unit SQL: - SELECT order_id"),
        ("{k: 3}", "{k: 4}", "folds k: 3 -> 4"),
        ("  - {method: plr}\n", "", "effect plr.slope.coupon.spend is gone"),
        ("outcome: linear", "outcome: {learner: linear, penalty: 2}", "settings of the effects"),
        ("effects:\n", "inference: {level: 0.9}\neffects:\n", "inference level: 0.95 -> 0.9"),
        ("cluster: shop", "cluster: age", "units cluster: shop -> age"),
        ("{spend: continuous}", "{spend: {kind: continuous, missing: drop}}", "outcomes spend"),
    ],
)
def test_each_change_of_the_study_is_said_in_words(
    home: Path, study: Path, old: str, new: str, says: str
) -> None:
    changed = prebuilt.STUDY.replace(old, new)
    assert changed != prebuilt.STUDY
    file = prebuilt.write_study(home / "changed", changed)
    found = planned(home, file)
    assert found["windows"][0]["action"] == "compute"
    assert any(says in each for each in words(found)), words(found)


def test_a_new_library_is_named(home: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = keys._version
    monkeypatch.setattr(keys, "_version", lambda name: "99" if name == "xgboost" else real(name))
    found = words(planned(home, study))
    assert [each for each in found if each.startswith("library")] == [
        f"library xgboost: {real('xgboost')} -> 99"
    ]


def test_cost_comes_from_past_runs(home: Path, study: Path) -> None:
    found = planned(home, study, first="2024-01", last="2024-04")
    labels = {each["window"]["label"]: each for each in found["windows"]}
    assert labels["2024-02"]["action"] == "compute"
    assert 200 < labels["2024-02"]["units"] < 260
    assert labels["2024-02"]["seconds"] is None, "nothing was ever registered"
    assert labels["2024-04"]["action"] == "not_mature"
    assert labels["2024-04"]["error"]["code"] == "not_mature"
    assert found["to_compute"] == 2


def test_planning_writes_nothing(home: Path, study: Path) -> None:
    before = sorted(str(each) for each in home.rglob("*"))
    planned(home, study, first="2024-01", last="2024-03")
    assert sorted(str(each) for each in home.rglob("*")) == before


def test_text_for_a_reader(home: Path, study: Path) -> None:
    found = plan(str(study), prebuilt.place(home), window=None, first="2024-01", last="2024-03")
    shown = text(found)
    assert "2024-02" in shown
    assert "2 of 3 windows to compute" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing of orders is recorded"),
        (("--from", "2024-01"), "only one of --from and --to"),
        (("--window", "2024-01", "--to", "2024-02"), "--window and --from/--to"),
    ],
)
def test_usage(here: Causeway, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    prebuilt.write_lake(tmp_path / "home")
    ran = here("plan", str(prebuilt.write_study(tmp_path)), *arguments)
    assert ran.code == 2
    assert says in ran.err


def test_the_command_prints_one_object(here: Causeway, tmp_path: Path) -> None:
    prebuilt.write_lake(tmp_path / "home")
    study = prebuilt.write_study(tmp_path)
    ran = here("plan", str(study), "--from", "2024-01", "--to", "2024-02", "--json")
    assert ran.code == 0, ran.err
    assert ran.object["schema"] == "causeway.plan/1"
    assert ran.object["to_compute"] == 2


def test_another_order_is_called_that() -> None:
    one = parse_study(prebuilt.STUDY.replace("[age]", "[age, shop]"), Path("a.yaml"))
    two = parse_study(prebuilt.STUDY.replace("[age]", "[shop, age]"), Path("a.yaml"))
    (order,) = changes("crossfit", crossfit_inputs(one, "", "cpu"), crossfit_inputs(two, "", "cpu"))
    assert order.words == "the covariates are in another order"
