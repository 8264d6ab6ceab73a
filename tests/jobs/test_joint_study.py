"""Treatments of one joint fit: from features to the record, its groups, contrasts and drift."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from estimators.contrasts import contrasts
from estimators.errors import NotEstimableError, UsageError
from jobs.groups import Families
from jobs.lake import read_record
from jobs.pages import note, report
from jobs.pages.evidence import gather
from jobs.registry.comparison import Sums, compare
from tests.jobs.test_models_study import STUDY as MODELS
from tests.jobs.test_models_study import clinics, run

HEAD = MODELS.partition("treatments:")[0].replace("p_offer, ", "")
STUDY = (
    HEAD
    + """\
treatments: {took: binary, lottery: continuous}
outcomes: {spend: {kind: continuous, missing: drop}}
covariates: [age]
folds: {k: 3}
nuisances: {outcome: linear, treatment: linear}
effects:
  - {method: plr, by: [region]}
  - {method: irm, treatment: took}
"""
)
IDS = ["plr.slope.lottery.spend", "plr.slope.took.spend"]


def test_the_record_of_a_joint_fit(tmp_path: Path) -> None:
    effects, checks, (_, _, profile) = run(tmp_path, STUDY)
    assert [name for name in effects if name.startswith("plr") and "@" not in name] == IDS
    assert {row["method"] for row in effects.values()} == {"plr", "irm"}
    cells = read_record(profile.record_root, "cells")
    sizes = set(
        zip(
            pc.list_value_length(cells["effects"]).to_pylist(),
            pc.list_value_length(cells["a"]).to_pylist(),
            strict=True,
        )
    )
    assert sizes == {(1, 1), (2, 4)}
    block = [row for row in cells.to_pylist() if len(row["effects"]) == 2]
    whole = [row for row in block if row["group_by"] is None]
    a = -np.sum([row["a"] for row in whole], axis=0).reshape(2, 2)
    theta = np.linalg.solve(a, np.sum([row["b"] for row in whole], axis=0))
    for name, value in zip(whole[0]["effects"], theta, strict=True):
        assert effects[name]["theta"] == pytest.approx(value, rel=1e-9)
    scores = read_record(profile.record_root, "scores").to_pylist()
    for name in IDS:
        mine = [row for row in scores if row["effect_id"] == name]
        a, b = (np.array([row[part] for row in mine]) for part in ("psi_a", "psi_b"))
        solved = -b.sum() / a.sum()
        assert effects[name]["theta"] == pytest.approx(solved, rel=1e-9)
        se = np.sqrt(((a * solved + b) ** 2).sum()) / abs(a.sum())
        assert effects[name]["se"] == pytest.approx(se, rel=1e-9)
    assert {row["effect_id"] for row in checks if row["check"] == "nuisance_quality"} >= set(IDS)


def test_the_note_and_the_report_say_that_the_fit_is_joint(tmp_path: Path) -> None:
    _, _, (found, done, profile) = run(tmp_path, STUDY)
    evidence = gather(found, done.key, profile.record_root)
    said = "took, lottery, each with the others held"
    assert said in note.run_note(evidence, "1", "RUN", {"clinics": 0})
    assert said in report.report(evidence, found.pins, {}).decode()


def test_groups_contrasts_and_drift(tmp_path: Path) -> None:
    effects, _, (found, done, profile) = run(tmp_path, STUDY)
    families = Families.of(profile, found.loaded.study)
    groups = families.family(done.key, "region", IDS)
    for name, theta in zip(groups.ids, groups.solved[0].theta, strict=True):
        assert effects[name]["theta"] == pytest.approx(theta, rel=1e-9)
    family = families.family(done.key, None, IDS)
    (difference,) = contrasts(family, [(0, 1)], 0.95, None)
    first, second = (effects[name] for name in family.ids)
    assert difference.theta == pytest.approx(first["theta"] - second["theta"], rel=1e-9)
    assert difference.se < first["se"] + second["se"]
    with pytest.raises(UsageError, match="solved over all units") as caught:
        families.family(done.key, "age", IDS)
    assert caught.value.code == "not_declared"
    drift = compare(Sums.of(profile.record_root), first, first).drift
    assert drift is not None
    assert (drift.difference, drift.correlation) == (0.0, pytest.approx(1.0))


def test_a_sum_of_the_other_treatment_has_no_effect(tmp_path: Path) -> None:
    rows = clinics()
    text = STUDY.partition("  - {method: irm")[0]
    rows = rows.set_column(
        rows.column_names.index("lottery"), "lottery", pc.cast(pc.add(rows["took"], 3), "double")
    )
    with pytest.raises(NotEstimableError, match="collinear_treatments"):
        run(tmp_path, text, rows)
