"""One map, many trials: a corrected prediction published with what made it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from conf.study import CalibrationTable
from estimators.debias.calibration import calibration_rows
from estimators.debias.linear import fit_linear
from estimators.debias.tweedie import fit_tweedie
from estimators.errors import ContractError, SourceError, UsageError
from jobs import crossfit, estimate
from jobs.lake import read_record
from jobs.predicted import publish_map
from jobs.predicted.maps import PROPERTY
from jobs.predicted.publish_map import Map, publish
from tests.jobs.map_world import features, place, study, villages, write

LABELS = CalibrationTable(
    table="{lake}/calibration", prediction="wealth_hat", truth="wealth", arm="treated"
)
ASKED = Map("wealth", "{lake}/villages", "wealth_hat", LABELS)


@pytest.fixture
def home(tmp_path):
    write_deltalake(f"{tmp_path}/lake/villages", villages(1500, 1).drop_columns(["wealth"]))
    write_deltalake(f"{tmp_path}/lake/calibration", villages(600, 2))
    return tmp_path


def table(home, name):
    return DeltaTable(f"{home}/lake/maps/{name}").to_pyarrow_table().sort_by("village")


@pytest.mark.parametrize("correct", ["lcc", "tweedie"])
def test_every_row_is_published_with_the_corrected_column(home, correct):
    stage = publish(Map("wealth", "{lake}/villages", "wealth_hat", LABELS, correct), place(home))
    labels = villages(600, 2)
    columns = (labels[name].to_numpy() for name in ("wealth_hat", "wealth"))
    calibration = calibration_rows(*columns)
    fit = fit_linear if correct == "lcc" else fit_tweedie
    rows = table(home, "wealth")
    expected = fit(calibration).apply(rows["wealth_hat"].to_numpy())
    np.testing.assert_allclose(rows["wealth_hat_corrected"].to_numpy(), expected, rtol=1e-9)
    assert stage.rows == len(rows) == 1500
    assert rows.column_names[:-1] == villages(1, 1).drop_columns(["wealth"]).column_names
    assert len(table(home, "wealth_calibration")) == 600


def test_what_made_a_version_stands_in_its_commit_and_in_the_ledger(home):
    stage = publish(ASKED, place(home))
    entry = DeltaTable(f"{home}/lake/maps/wealth").history(1)[0]
    facts = json.loads(entry[PROPERTY])
    assert facts == json.loads(json.dumps(stage.detail))
    assert facts["correction"] == "lcc"
    assert 0.5 < facts["slope"] < 0.7
    assert np.array(facts["covariance"]).shape == (2, 2)
    assert facts["tables"]["calibration"]["version"] == 0
    assert {row["candidate"] for row in facts["gate"]["table"]} == {"none", "lcc"}
    (row,) = read_record(place(home).record_root, "stages").to_pylist()
    assert (row["stage"], row["table"], row["version"]) == ("publish_map", "maps/wealth", 0)
    assert dict(row["sources"]) == {"predictions": 0, "calibration": 0}


def test_the_same_map_is_published_once_and_a_new_calibration_is_a_new_version(home):
    first = publish(ASKED, place(home))
    again = publish(ASKED, place(home))
    assert (again.status, again.version) == ("reused", first.version)
    assert DeltaTable(f"{home}/lake/maps/wealth").version() == 0
    write_deltalake(f"{home}/lake/calibration", villages(700, 3), mode="overwrite")
    newer = publish(ASKED, place(home))
    assert (newer.version, first.version) == (1, 0)
    old = DeltaTable(f"{home}/lake/maps/wealth", version=0).to_pyarrow_table()
    assert len(old) == 1500, "a study that pinned the map still has it"


def test_a_crash_before_the_ledger_publishes_nothing_twice(home, monkeypatch):
    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish_map.maps, "record", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(ASKED, place(home))
    stage = publish(ASKED, place(home))
    assert stage.version == DeltaTable(f"{home}/lake/maps/wealth").version() == 0


def test_a_trial_on_the_map_has_the_effect_and_the_error_of_one_on_the_prediction(home):
    """The corrected column calibrated on itself has slope one, and the same uncertainty."""

    def effects(folder, text, trial, labels):
        found, profile = write(folder, text, trial=trial, calibration=labels), place(folder)
        fitted = crossfit.run(found, features(found, profile), profile)
        done = estimate.run(found, fitted, profile)
        return {
            row["effect_id"]: row for row in estimate.read_effects(profile.record_root, done.key)
        }

    publish(ASKED, place(home))
    trial, labels = table(home, "wealth"), table(home, "wealth_calibration")
    own = effects(home / "own", study("lcc"), villages(1500, 1), villages(600, 2))
    corrected = [
        each.drop_columns(["wealth_hat"]).rename_columns({"wealth_hat_corrected": "wealth_hat"})
        for each in (trial, labels)
    ]
    corrected[0] = corrected[0].append_column("wealth", pa.nulls(1500, pa.float64()))
    mapped = effects(home / "mapped", study("lcc"), *corrected)
    name = "irm+lcc.ate.treated.wealth"
    assert mapped[name]["theta"] == pytest.approx(own[name]["theta"], rel=1e-6)
    assert mapped[name]["se"] == pytest.approx(own[name]["se"], rel=1e-6)


def test_null_predictions_stay_null(home):
    rows = villages(50, 4).drop_columns(["wealth"])
    hats = [None, *(each.as_py() for each in rows["wealth_hat"][1:])]
    rows = rows.set_column(rows.column_names.index("wealth_hat"), "wealth_hat", pa.array(hats))
    write_deltalake(f"{home}/lake/villages", rows, mode="overwrite")
    publish(ASKED, place(home))
    assert table(home, "wealth")["wealth_hat_corrected"].null_count == 1


BAD = {
    "no_column": (Map("m", "{lake}/villages", "wealth_hut", LABELS), ContractError),
    "bad_name": (Map("../m", "{lake}/villages", "wealth_hat", LABELS), UsageError),
    "source_gone": (Map("m", "{lake}/none", "wealth_hat", LABELS), SourceError),
    "outside_roots": (Map("m", "/elsewhere/villages", "wealth_hat", LABELS), UsageError),
    "column_taken": (Map("m", "{lake}/published", "wealth_hat", LABELS), ContractError),
}


@pytest.mark.parametrize("code", BAD)
def test_bad_input_is_named_and_nothing_is_written(home, code):
    asked, kind = BAD[code]
    rows = villages(50, 4).drop_columns(["wealth"])
    taken = rows.append_column("wealth_hat_corrected", rows["wealth_hat"])
    write_deltalake(f"{home}/lake/published", taken)
    with pytest.raises(kind) as caught:
        publish(asked, place(home).model_copy(update={"allowed_roots": []}))
    assert caught.value.code == code
    assert caught.value.remedy
    assert not (home / "lake" / "maps").exists()


def test_the_command_prints_the_stage(home, monkeypatch, capsys):
    monkeypatch.setenv("CAUSEWAY_HOME", str(home))
    given = "wealth --table {lake}/villages --column wealth_hat --calibration {lake}/calibration"
    assert publish_map.main([*given.split(), "--truth", "wealth"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["rows"]) == ("publish_map", 1500)
    assert shown["detail"]["gate"]["answer"] == "untested"
    assert publish_map.main([*given.split(), "--truth", "welth"]) == 4
    assert "did you mean 'wealth'" in capsys.readouterr().err
