"""Registration in a real MLflow on SQLite, from a real Delta record; crashes are real SIGKILLs."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from estimators.errors import ContractError
from jobs import register
from jobs.contracts import EFFECTS
from jobs.lake import read_record
from jobs.ledger import find
from jobs.pages import tracking
from tests.jobs import record_sample as sample
from tests.jobs.registered import (
    POINTS,
    artifact,
    client,
    everything,
    parent_of,
    process,
    registered,
    runs,
)

pytestmark = pytest.mark.engines

CHILDREN = 6


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three registered months; tests read it."""
    home = tmp_path_factory.mktemp("months")
    for label in sample.LABELS:
        registered(sample.record(home, label))
    return home


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one recorded window and a migrated, empty store; tests copy it."""
    home = tmp_path_factory.mktemp("empty")
    recorded = sample.record(home)
    with tracking.store(recorded.profile):
        pass
    return home


def test_a_window_is_a_parent_and_a_headline_effect_a_child(months: Path) -> None:
    parent = parent_of(months, "2013-03")
    assert parent.info.run_name == "2013-03 rejected"
    assert parent.info.status == "FINISHED"
    children = runs(months, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    newest_first = sorted(children, key=lambda run: -run.info.start_time)
    assert [run.info.run_name for run in newest_first] == [
        "2013-03 PLR slope dep_delay",
        "2013-03 PLR slope cancelled",
        "2013-03 IRM ATE dep_delay",
        "2013-03 IRM ATE cancelled",
        "2013-03 IRM ATT dep_delay",
        "2013-03 IRM ATT cancelled",
    ]
    assert {run.info.status for run in children} == {"FINISHED"}


def test_tags_tell_the_story_and_are_repeated_on_the_children(months: Path) -> None:
    recorded = sample.record(months, "2013-03")
    for run in runs(months, f"tags.run_key = '{recorded.run_key}'"):
        tags = run.data.tags
        assert tags["study"] == "rain_delays"
        assert tags["window"] == "2013-03"
        assert tags["superseded"] == "false"
        assert tags["verdict"] in ("holds", "doubtful", "rejected")
        assert "[" in tags["effect"]
        assert "NaN" not in str(tags)
    tags = parent_of(months, "2013-03").data.tags
    assert tags["kind"] == "window"
    assert tags["data"] == "flights v12, weather v0"
    assert tags["failed"].startswith("attrition.gap (gate)")
    assert tags["change"].endswith(" vs 2013-02")
    assert "change" not in parent_of(months, "2013-01").data.tags
    assert tags["effects_digest"] == recorded.estimate.digest


def test_metrics_have_four_digits_the_window_as_step_and_its_start_as_time(months: Path) -> None:
    run = parent_of(months, "2013-02")
    history = client(months).get_metric_history(run.info.run_id, "effect/theta")
    start = sample.span("2013-02").start
    assert [(each.step, each.timestamp) for each in history] == [
        (43 * 12 + 1, int(start.timestamp() * 1000))
    ]
    for name, value in run.data.metrics.items():
        assert math.isfinite(value)
        assert float(f"{value:.4g}") == value, name
    prefixes = {name.split("/")[0] for name in run.data.metrics}
    assert prefixes == {
        "effect", "overlap", "balance", "attrition", "missingness", "nuisance_quality", "checks",
    }  # fmt: skip
    assert run.data.metrics["checks/failed"] > 0


def test_the_data_are_inputs_with_their_versions_zero_included(months: Path) -> None:
    run = parent_of(months, "2013-03")
    assert run.data.params["delta_path"] == "{lake}/flights"
    assert run.data.params["delta_version"] == "12"
    assert run.data.params["delta_version.weather"] == "0"
    inputs = run.inputs.dataset_inputs
    found = {each.dataset.name: each.dataset for each in inputs}
    assert {name: each.digest for name, each in found.items()} == {
        "flights": "v12",
        "weather": "v0",
    }
    assert json.loads(found["weather"].source)["delta_table_version"] == 0
    assert {each.tags[0].value for each in inputs} == {"source"}


def test_artifacts_hold_the_record_exactly(months: Path) -> None:
    run = parent_of(months, "2013-03")
    recorded = sample.record(months, "2013-03")
    mine = ds.field("run_key") == recorded.run_key
    table = read_record(recorded.profile.record_root, "effects", mine)
    shown = json.loads(artifact(months, run, "effects.json").read_text())
    assert shown["schema"] == "causeway.effects/1"
    by_id = {row["effect_id"]: row for row in shown["effects"]}
    for row in table.to_pylist():
        found = by_id.pop(row["effect_id"])
        assert set(found) == {*EFFECTS.names, "checks_failed"}
        assert found["theta"] == row["theta"]
        assert found["window_start"] == "2013-03-01T05:00:00Z"
        assert found["sources"] == {"flights": 12, "weather": 0}
    assert not by_id
    parquet = pq.read_table(artifact(months, run, "tables/effects.parquet"))
    assert parquet.schema.equals(EFFECTS)
    order = pc.sort_indices(table, [("effect_id", "ascending")])
    same = pc.sort_indices(parquet, [("effect_id", "ascending")])
    assert parquet.take(same).equals(table.take(order))
    lines = artifact(months, run, "tables/effects.csv").read_text().splitlines()
    assert len(lines) == table.num_rows + 1
    checks = json.loads(artifact(months, run, "checks.json").read_text())["checks"]
    count = read_record(recorded.profile.record_root, "checks", mine).num_rows
    assert len(checks) == count
    assert artifact(months, run, "study/study.yaml").read_text() == sample.STUDY
    assert json.loads(artifact(months, run, "study/keys.json").read_text())["run_key"] == (
        recorded.run_key
    )


def test_figures_are_there_and_the_timeline_from_the_second_window_on(months: Path) -> None:
    wanted = {"forest.png", "figures/overlap.png", "figures/balance.png", "figures/missing.png"}
    for label in sample.LABELS:
        root = artifact(months, parent_of(months, label), "")
        found = {str(path.relative_to(root)) for path in root.rglob("*.png")}
        assert wanted <= found
        assert ("figures/timeline.png" in found) == (label != "2013-01")


def test_not_estimable_effects_are_null_in_files_and_absent_in_metrics(tmp_path: Path) -> None:
    gone = dict.fromkeys(("theta", "se", "ci_low", "ci_high", "p_value"))
    broken = {
        "plr.slope.rain.dep_delay": gone | {"status": "failed", "error_code": "constant_treatment"},
        "irm.ate.rain.dep_delay": {"se": math.nan, "ci_low": -math.inf, "ci_high": math.inf},
    }
    registered(sample.record(tmp_path, changes=broken))
    parent = parent_of(tmp_path, "2013-03")
    assert "effect/theta" not in parent.data.metrics
    assert "plr.slope.rain.dep_delay" in parent.data.tags["not_estimable"]
    assert parent.data.tags["effect"] == "not estimable (constant_treatment)"
    (child,) = runs(tmp_path, "tags.effect_id = 'irm.ate.rain.dep_delay'")
    assert "effect/ci_high" not in child.data.metrics
    assert "effect/ci_high" in child.data.tags["not_estimable"]
    text = artifact(tmp_path, parent, "effects.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


def test_the_same_key_again_adds_nothing_anywhere(months: Path) -> None:
    before = everything(months)
    recorded = sample.record(months, "2013-03")
    again = registered(recorded)
    assert again.stage.status == "reused"
    assert again.run_id == parent_of(months, "2013-03").info.run_id
    assert everything(months) == before


def test_the_ledger_has_the_stage_and_the_sources(months: Path) -> None:
    recorded = sample.record(months, "2013-03")
    stage = find(recorded.profile.record_root, "register", recorded.run_key)
    assert stage is not None
    assert stage.rows == 1 + CHILDREN
    assert stage.detail == {
        "experiment_id": parent_of(months, "2013-03").info.experiment_id,
        "run_id": parent_of(months, "2013-03").info.run_id,
    }


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_is_mended_by_the_next_registration(
    empty_store: Path, tmp_path: Path, point: str
) -> None:
    home = tmp_path / "home"
    shutil.copytree(empty_store, home)
    killed = process(home, tmp_path / "answer", point)
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    recorded = sample.record(home)
    found = registered(recorded)
    check_one_registration(home, recorded, found)


def check_one_registration(
    home: Path, recorded: sample.Recorded, found: register.Registered
) -> None:
    """One finished parent with all its children under the run key, and nothing else."""
    mine = runs(home, f"tags.run_key = '{recorded.run_key}'")
    parents = [run for run in mine if run.data.tags["kind"] == "window"]
    assert [run.info.run_id for run in parents] == [found.run_id]
    assert {run.info.status for run in mine} == {"FINISHED"}
    children = [run for run in mine if run.data.tags["kind"] == "estimate"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {found.run_id}
    assert len({run.data.tags["effect_id"] for run in children}) == len(children) == CHILDREN
    assert "Again: `causeway run" in parents[0].data.tags["mlflow.note.content"]
    folders = list((home / "mlflow" / "artifacts" / "rain_delays").iterdir())
    assert [folder.name for folder in folders] == [found.run_id]
    rows = read_record(recorded.profile.record_root, "stages")
    assert rows["stage"].to_pylist() == ["register"]
    assert json.loads(rows["detail"][0].as_py())["run_id"] == found.run_id


@pytest.mark.slow
def test_two_processes_with_the_same_key_make_one_registration(tmp_path: Path) -> None:
    recorded = sample.record(tmp_path)
    answers = [tmp_path / "first", tmp_path / "second"]
    both = [process(tmp_path, answer) for answer in answers]
    for each in both:
        each.join(180)
    assert [each.exitcode for each in both] == [0, 0]
    said = [answer.read_text().split() for answer in answers]
    assert said[0][0] == said[1][0]
    assert sorted(status for _, status in said) == ["computed", "reused"]
    check_one_registration(tmp_path, recorded, registered(recorded))


def test_a_moved_home_keeps_its_artifacts_and_holds_no_old_path(
    months: Path, tmp_path: Path
) -> None:
    home = tmp_path / "moved home"
    shutil.copytree(months, home)
    recorded = sample.again(sample.record(months, "2013-03"), home)
    assert registered(recorded).stage.status == "reused"
    parent = parent_of(home, "2013-03")
    place = Path(unquote(urlparse(parent.info.artifact_uri).path))
    assert place.is_relative_to(home)
    assert place.joinpath("effects.json").is_file()
    registered(sample.record(home, "2013-03", salt="later", shift=1.0))
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        dump = "\n".join(connection.iterdump())
    assert str(months) not in dump
    assert len(list((months / "mlflow/artifacts/rain_delays").iterdir())) == len(sample.LABELS)


@pytest.mark.slow
def test_a_store_that_was_lost_is_written_again(months: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(months, home)
    shutil.rmtree(home / "mlflow")
    answer = tmp_path / "answer"
    mended = process(home, answer)
    mended.join(120)
    run_id, status = answer.read_text().split()
    assert status == "computed"
    assert parent_of(home, "2013-03").info.run_id == run_id
    keys = read_record(sample.profile(home).record_root, "stages")["key"].to_pylist()
    assert len(keys) == len(set(keys)) == len(sample.LABELS)


def test_a_later_run_of_a_window_supersedes_the_earlier_with_its_children(tmp_path: Path) -> None:
    old = sample.record(tmp_path, recorded_at=sample.at(1))
    new = sample.record(tmp_path, salt="new", shift=3.0, recorded_at=sample.at(2))
    registered(old)
    registered(new)
    for recorded, expected in ((old, "true"), (new, "false")):
        found = runs(tmp_path, f"tags.run_key = '{recorded.run_key}'")
        assert len(found) == 1 + CHILDREN
        assert {run.data.tags["superseded"] for run in found} == {expected}


@pytest.mark.slow
def test_a_superseded_run_that_is_registered_late_is_marked_at_once(tmp_path: Path) -> None:
    old = sample.record(tmp_path, recorded_at=sample.at(1))
    new = sample.record(tmp_path, salt="new", recorded_at=sample.at(2))
    registered(new)
    registered(old)
    assert {
        run.data.tags["run_key"]: run.data.tags["superseded"]
        for run in runs(tmp_path, "tags.kind = 'window'")
    } == {old.run_key: "true", new.run_key: "false"}


def test_an_experiment_that_was_deleted_by_hand_is_restored(
    empty_store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(empty_store, home)
    first = registered(sample.record(home))
    client(home).delete_experiment(first.experiment_id)
    second = registered(sample.record(home))
    assert second.experiment_id == first.experiment_id
    assert client(home).get_experiment(first.experiment_id).lifecycle_stage == "active"


def test_headline_bounds_the_children_but_not_the_tables(empty_store: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(empty_store, home)
    few = sample.study(publish={"headline": 2})
    registered(sample.record(home, "2013-01", loaded=few))
    assert len(runs(home, "tags.kind = 'estimate'")) == 2
    shown = json.loads(artifact(home, parent_of(home, "2013-01"), "effects.json").read_text())
    assert len(shown["effects"]) == 12


def test_nothing_is_written_outside_the_home(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    shutil.copytree(empty_store, home)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    registered(sample.record(home))
    assert not list(elsewhere.iterdir())


def test_a_key_without_effects_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    recorded = sample.record(tmp_path)
    unknown = sample.with_key(recorded, "0" * 64)
    with pytest.raises(ContractError) as caught:
        registered(unknown)
    assert caught.value.code == "not_recorded"
    assert not (tmp_path / "mlflow").exists()


def test_the_experiment_has_a_note_and_three_views(months: Path) -> None:
    found = client(months).get_experiment_by_name("rain_delays")
    assert found is not None
    first = found.tags["mlflow.note.content"].splitlines()[0]
    for part in ("Does rain", "2013-03: ", "promoted: none yet", "review", "timeline", "estimands"):
        assert part in first
    views = [name for name in found.tags if name.startswith("mlflow.sharedViewState.")]
    assert len(views) == 3
