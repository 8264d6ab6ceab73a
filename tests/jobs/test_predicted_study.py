"""A study on a predicted outcome: from its calibration table to the record."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from conf.gates import CheckRow, verdicts
from conf.keys import crossfit_key
from estimators.errors import ContractError, SourceError, StudyError
from jobs import crossfit, estimate
from jobs.lake import read_record
from jobs.pages.evidence import gather
from jobs.pages.figures import draw
from tests.jobs.map_world import features, place, study, villages, write


def run(home, text, **tables):
    """The study's effects by id, its checks, and its crossfit and estimate stages."""
    found, profile = write(home, text, **tables), place(home)
    fitted = crossfit.run(found, features(found, profile), profile)
    done = estimate.run(found, fitted, profile)
    effects = {
        row["effect_id"]: row for row in estimate.read_effects(profile.record_root, done.key)
    }
    checks = read_record(profile.record_root, "checks").to_pylist()
    return effects, [each for each in checks if each["check"] == "correction"], (found, done)


def metrics(checks, effect_id):
    return {each["metric"]: each for each in checks if each["effect_id"] == effect_id}


def judged(found, effects, checks):
    names = CheckRow.__dataclass_fields__
    rows = [CheckRow(**{name: each[name] for name in names}) for each in checks]
    return verdicts(found.loaded.study, list(effects), rows)


def test_both_effects_stand_side_by_side(tmp_path):
    effects, checks, (found, _) = run(
        tmp_path, study("lcc"), trial=villages(3000, 1), calibration=villages(6000, 2)
    )
    naive, lcc = effects["irm.ate.treated.wealth"], effects["irm+lcc.ate.treated.wealth"]
    assert (naive["method"], lcc["method"]) == ("irm", "irm+lcc")
    assert abs(naive["theta"] - 0.6) < 3 * naive["se"]
    assert abs(lcc["theta"] - 1.0) < 3 * lcc["se"]
    assert lcc["se"] > naive["se"] * lcc["theta"] / naive["theta"]
    assert lcc["n_clusters"] == naive["n_clusters"] == 60
    assert lcc["se_kind"] == "cluster:district"
    assert dict(lcc["sources"]) == {"villages": 0, "calibration:wealth": 0}
    assert {"irm+lcc.ate.treated.wealth@region=north"} < set(effects)
    mine = metrics(checks, lcc["effect_id"])
    assert all(mine[each]["passed"] for each in ("wald_p", "reach", "slope", "slope_ratio"))
    facts = json.loads(mine["reach"]["detail"])
    assert facts["answer"] == "correct"
    assert {row["stratum"] for row in facts["table"]} == {
        f"arm={arm}, group={group}" for arm in (0, 1) for group in ("north", "south")
    }
    said = judged(found, effects, checks)
    assert said[naive["effect_id"]].verdict == "doubtful"
    assert said[lcc["effect_id"]].verdict == "holds"
    assert said["irm+lcc.ate.treated.wealth@region=north"].verdict == "holds"


def test_only_auto_withholds(tmp_path):
    right = {
        "trial": villages(1500, 1, residual=True),
        "calibration": villages(9000, 2, residual=True),
    }
    chosen, checks, _ = run(tmp_path / "auto", study("auto"), **right)
    assert {each for each in chosen if "@" not in each} == {"irm.ate.treated.wealth"}
    assert {each["effect_id"] for each in checks} == {"irm.ate.treated.wealth"}
    facts = json.loads(metrics(checks, "irm.ate.treated.wealth")["reach"]["detail"])
    assert facts["answer"] == "naive_ok"
    assert facts["tests"]["lcc"]["found"] == "wrong"
    asked, checks, (found, _) = run(tmp_path / "lcc", study("lcc"), **right)
    said = judged(found, asked, checks)
    assert said["irm+lcc.ate.treated.wealth"].failed == ("correction.reach", "correction.wald_p")
    assert said["irm.ate.treated.wealth"].verdict == "holds"


@pytest.mark.parametrize("correct", ["tweedie", "ppi"])
def test_the_other_corrections_are_estimated_too(tmp_path, correct):
    effects, _, _ = run(tmp_path, study(correct))
    row = effects[f"irm+{correct}.ate.treated.wealth"]
    assert row["theta"] > 1.5 * effects["irm.ate.treated.wealth"]["theta"]
    assert row["n_clusters"] == 60


def test_a_study_without_clusters_has_the_calibrations_share(tmp_path):
    text = study("lcc", ("  cluster: district\n", ""))
    effects, _, _ = run(tmp_path, text)
    naive, lcc = effects["irm.ate.treated.wealth"], effects["irm+lcc.ate.treated.wealth"]
    assert lcc["se_kind"] == "hc0"
    assert lcc["se"] == lcc["se_hc0"] > 1.001 * naive["se"] * lcc["theta"] / naive["theta"]


def test_labels_that_do_not_tell_their_arm_leave_the_gate_untested(tmp_path):
    text = study("lcc", ("        arm: treated\n", ""))
    effects, checks, (found, _) = run(tmp_path, text)
    mine = metrics(checks, "irm+lcc.ate.treated.wealth")
    assert json.loads(mine["reach"]["detail"])["answer"] == "untested"
    assert mine["reach"]["value"] is None
    assert mine["reach"]["passed"] is False
    said = judged(found, effects, checks)
    assert {each.verdict for each in said.values()} == {"doubtful"}


def test_cells_sum_to_the_effects_with_the_calibration_among_them(tmp_path):
    effects, _, (_, done) = run(tmp_path, study("lcc", ("repetitions: 2", "repetitions: 1")))
    rows = read_record(place(tmp_path).record_root, "cells").to_pylist()
    a = b = 0.0
    outside = []
    for row in rows:
        for name, n, sum_a, sum_b in zip(row["effects"], row["n"], row["a"], row["b"], strict=True):
            if name == "irm+lcc.ate.treated.wealth" and row["group_by"] is None:
                a, b = a + sum_a, b + sum_b
                if row["cell"].startswith("calibration:"):
                    outside.append((n, row["cell"]))
    assert -b / a == pytest.approx(effects["irm+lcc.ate.treated.wealth"]["theta"], rel=1e-12)
    assert [n for n, _ in outside] == [0, 0]
    assert done.rows == len(effects)


def test_a_new_calibration_is_another_crossfit_of_the_same_features(tmp_path):
    one, profile = write(tmp_path, study("lcc")), place(tmp_path)
    rows = features(one, profile)
    two = write(tmp_path, study("lcc"), calibration=villages(700, 9))
    assert two.sources["calibration:wealth"] == 1
    pins = ((each.loaded.study, rows.digest, "cpu", each.calibrations) for each in (one, two))
    assert len({crossfit_key(*each) for each in pins}) == 2


def test_the_record_is_the_same_whatever_the_order_of_labels(tmp_path):
    labels = villages(600, 2)
    turned = labels.take(np.random.default_rng(3).permutation(len(labels)))
    digests = {
        run(tmp_path / name, study("lcc"), calibration=each)[2][1].digest
        for name, each in (("one", labels), ("two", turned))
    }
    assert len(digests) == 1


def column(table, name, values):
    return table.set_column(table.column_names.index(name), name, pa.array(values))


LABELS = villages(600, 2)
SPOILT = {
    "too_few_calibration_rows": LABELS.slice(0, 29),
    "constant_prediction": column(LABELS, "wealth_hat", [1.5] * 600),
    "constant_truth": column(LABELS, "wealth", [1.5] * 600),
    "other_scale": column(LABELS, "wealth", [1000.0 * each.as_py() for each in LABELS["wealth"]]),
    "calibration_not_finite": column(
        LABELS, "wealth", [None, *(each.as_py() for each in LABELS["wealth"][1:])]
    ),
    "weak_calibration": column(
        LABELS, "wealth_hat", [-each.as_py() for each in LABELS["wealth_hat"]]
    ),
    "calibration_arm": column(LABELS, "treated", [2] * 600),
}


@pytest.mark.parametrize("code", SPOILT)
def test_a_calibration_that_cannot_serve_is_named_and_nothing_is_written(tmp_path, code):
    with pytest.raises(ContractError) as caught:
        run(tmp_path, study("lcc"), calibration=SPOILT[code])
    error = caught.value
    assert error.code == code
    assert (error.where.table, error.where.version) == ("calibration:wealth", 0)
    assert error.remedy
    root = place(tmp_path).record_root
    assert len(read_record(root, "cells")) == len(read_record(root, "effects")) == 0


TRAINING = (
    "        id: village\n",
    '        id: village\n      training: {table: "{lake}/training", id: village}\n',
)


@pytest.mark.parametrize("overlap", [False, True])
def test_calibration_rows_among_the_training_rows_are_refused(tmp_path, overlap):
    trained = villages(50, 2 if overlap else 77).select(["village"])
    write_deltalake(f"{tmp_path}/lake/training", trained)
    if not overlap:
        effects, _, _ = run(tmp_path, study("lcc", TRAINING))
        assert dict(effects["irm.ate.treated.wealth"]["sources"])["training:wealth"] == 0
        return
    with pytest.raises(ContractError) as caught:
        run(tmp_path, study("lcc", TRAINING))
    assert caught.value.code == "calibration_overlaps_training"
    assert "50 of 600" in caught.value.message


def test_predictions_outside_the_calibrated_range_fail_their_check(tmp_path):
    trial = villages(1500, 1)
    far = column(trial, "wealth_hat", [3.0 + each.as_py() for each in trial["wealth_hat"]])
    effects, checks, _ = run(tmp_path, study("lcc"), trial=far)
    mine = metrics(checks, "irm+lcc.ate.treated.wealth")["outside_share"]
    assert mine["value"] > 0.05
    assert mine["passed"] is False
    assert effects["irm+lcc.ate.treated.wealth"]["status"] == "ok"


def test_a_weak_slope_fails_its_check(tmp_path):
    _, checks, _ = run(tmp_path, study("lcc"), calibration=villages(600, 2, k=0.1))
    assert metrics(checks, "irm+lcc.ate.treated.wealth")["slope"]["passed"] is False


def test_resolving_names_the_place_of_a_wrong_column(tmp_path):
    with pytest.raises(StudyError) as caught:
        write(tmp_path, study("lcc", ("truth: wealth", "truth: welth")))
    (fault,) = caught.value.faults
    assert (fault.nearest, fault.where.line is not None) == ("wealth", True)


def test_resolving_names_a_calibration_that_is_not_there(tmp_path):
    with pytest.raises(SourceError) as caught:
        write(tmp_path, study("lcc", ("{lake}/calibration", "{lake}/calibrations")))
    assert caught.value.where.table == "calibration:wealth"
    assert "calibration" in caught.value.message


def test_a_named_version_is_pinned(tmp_path):
    write(tmp_path, study("lcc"))
    text = study("lcc", ('"{lake}/calibration"', '"{lake}/calibration"\n        version: 0'))
    again = write(tmp_path, text, calibration=villages(700, 9))
    assert DeltaTable(f"{tmp_path}/lake/calibration").version() == 1
    assert again.sources["calibration:wealth"] == 0


def test_the_gate_is_drawn(tmp_path):
    _, _, (found, done) = run(tmp_path, study("auto"))
    drawn = draw(gather(found, done.key, place(tmp_path).record_root))
    for name in ("calibration", "gate"):
        assert drawn[f"figures/{name}.png"].startswith(b"\x89PNG")
