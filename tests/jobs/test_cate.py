"""Conditional effects in a study: committed beside the sums, under the same key and digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from conf.load import load_study
from conf.plan import cate_specs
from estimators.errors import StudyError
from jobs import crossfit, ledger
from jobs.lake import open_table, read_record
from jobs.upkeep.erasure import Order, erase_ids
from tests.jobs import prebuilt

CATE = "cate: {learners: [s, t, x, r, dr], final: linear}\n"
STUDY = prebuilt.STUDY + CATE
MONTH = "2024-01"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    prebuilt.write_lake(tmp_path)
    return tmp_path


def rows_of(home: Path) -> dict[str, dict[str, float]]:
    """tau by learner and unit."""
    table = read_record(f"{home}/record", "cate").to_pylist()
    found: dict[str, dict[str, float]] = {}
    for row in table:
        found.setdefault(row["learner"], {})[row["unit_id"]] = row["tau"]
    return found


def test_every_unit_has_tau_of_every_learner(home: Path) -> None:
    place, file = prebuilt.place(home), prebuilt.write_study(home, STUDY)
    prebuilt.record(file, MONTH, place)
    found = rows_of(home)
    features = open_table(f"{home}/features/orders").to_pyarrow_table()
    assert set(found) == {"s", "t", "x", "r", "dr"}
    for taus in found.values():
        assert set(taus) == set(features["unit_id"].to_pylist())
        values = np.array(list(taus.values()))
        assert np.isfinite(values).all()
        assert values.mean() == pytest.approx(prebuilt.EFFECT, abs=0.6)
    table = read_record(f"{home}/record", "cate")
    assert pc.unique(table["effect_id"]).to_pylist()[0].startswith("cate.")


def test_effects_are_those_of_the_study_without_it(home: Path, tmp_path: Path) -> None:
    """Nuisances are shared: what is added changes no estimate, and no key of other studies."""
    place = prebuilt.place(home)
    plain = prebuilt.write_study(home / "plain")
    whole = prebuilt.write_study(home / "whole", STUDY)
    prebuilt.record(plain, MONTH, place)
    before = read_record(place.record_root, "effects").to_pylist()
    found = prebuilt.resolved(whole, MONTH, place)
    built = next(each for each in ledgers(place.record_root) if each.name == "features")
    stage = crossfit.run(found, built, place)
    cells = read_record(place.record_root, "cells")
    mine = cells.filter(pc.equal(cells["crossfit_key"], stage.key)).drop_columns(["crossfit_key"])
    theirs = cells.filter(pc.not_equal(cells["crossfit_key"], stage.key))
    assert mine.equals(theirs.drop_columns(["crossfit_key"]))
    assert before == read_record(place.record_root, "effects").to_pylist()


def ledgers(root: str) -> list[ledger.Stage]:
    from jobs.windows import read_windows

    return [each.stage for each in read_windows(root, "orders").entries.values()]


def test_the_digest_holds_tau_and_repeats(home: Path) -> None:
    place, file = prebuilt.place(home), prebuilt.write_study(home, STUDY)
    prebuilt.record(file, MONTH, place)
    (built,) = (each for each in ledgers(place.record_root) if each.name == "features")
    (done,) = (each for each in ledgers(place.record_root) if each.name == "crossfit")
    found = prebuilt.resolved(file, MONTH, place)
    again = crossfit.run(found, built, place, recompute=True)
    assert (again.key, again.digest) == (done.key, done.digest)


@pytest.mark.slow
@pytest.mark.engines
def test_ray_gives_the_tau_of_inline(home: Path, ray_session: None) -> None:
    """All five learners and a boosted second stage, row by row."""
    text = STUDY.replace("final: linear", "final: {learner: xgboost, n_estimators: 20}")
    text = text.replace("outcome: linear", "outcome: {learner: xgboost, n_estimators: 20}")
    here, file = prebuilt.place(home), prebuilt.write_study(home, text)
    ray = here.ray.model_copy(update={"inline_below": 0, "num_cpus": 2})
    there = here.model_copy(update={"engines": "together", "ray": ray})
    prebuilt.prebuild(file, (MONTH,), here)
    found = prebuilt.resolved(file, MONTH, here)
    built = prebuilt.built(found, here)
    inline = crossfit.run(found, built, here, recompute=True)
    assert crossfit.run(found, built, there).digest == inline.digest
    assert set(rows_of(home)) == {"s", "t", "x", "r", "dr"}


def test_the_mean_of_the_dr_learner_is_the_average_effect(home: Path) -> None:
    """A linear fit with an intercept has the mean of its pseudo-outcomes: those of the ATE."""
    place = prebuilt.place(home)
    prebuilt.record(prebuilt.write_study(home, STUDY), MONTH, place)
    rows = read_record(place.record_root, "effects").to_pylist()
    (average,) = (row for row in rows if row["effect_id"] == "irm.ate.coupon.spend")
    mean = np.mean(list(rows_of(home)["dr"].values()))
    assert mean == pytest.approx(average["theta"], abs=0.25 * average["se"])


def test_an_erased_person_has_no_tau(home: Path) -> None:
    place = prebuilt.place(home)
    prebuilt.record(prebuilt.write_study(home, STUDY), MONTH, place)
    unit = next(iter(rows_of(home)["dr"]))
    erase_ids(place, "orders", "unit_id", [unit], Order("request 17", "Ada"))
    assert all(unit not in taus for taus in rows_of(home).values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("cate: {treatment: cupon}", "coupon"),
        ("cate: {outcome: spent}", "spend"),
        ("cate: {learners: [dr, dr]}", "once"),
        ("cate: {learners: [q]}", "dr"),
        ("cate: {final: xgbost}", "xgboost"),
        ("cate: {final: {learner: xgboost, max_train_rows: 10}}", "parameters of the learner"),
    ],
)
def test_faults_are_named(tmp_path: Path, given: str, words: str) -> None:
    file = prebuilt.write_study(tmp_path, f"{prebuilt.STUDY}{given}\n")
    with pytest.raises(StudyError, match=words):
        load_study(str(file))


def test_all_binary_treatments_and_learners_by_default(tmp_path: Path) -> None:
    file = prebuilt.write_study(tmp_path, prebuilt.STUDY + "cate: {}\n")
    (spec,) = cate_specs(load_study(str(file)).study)
    assert spec.effect_id("dr") == "cate.dr.coupon.spend"
    assert spec.final["learner"] == "xgboost"
    assert cate_specs(load_study(str(prebuilt.write_study(tmp_path))).study) == ()
