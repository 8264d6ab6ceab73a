"""The model registry of a real MLflow on SQLite: versions, aliases and words follow the record."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs import register
from jobs.registry import champion
from jobs.registry.champion import CANDIDATE, CHAMPION, model_name
from jobs.registry.review import PROMOTED, REJECTED, Ruling, decide
from jobs.registry.standing import CANDIDATE as NEWEST
from jobs.registry.standing import Meant
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.registered import POINTS, artifact, client, everything, process, runs
from tests.jobs.review_sample import ATE, PLR

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

pytestmark = pytest.mark.engines
EFFECTS = 6


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January and February, registered; tests copy it."""
    home = tmp_path_factory.mktemp("two")
    windows.register_all(windows.record(home, "2013-01"), windows.record(home, "2013-02"))
    return home


@pytest.fixture
def home(two: Path, tmp_path: Path) -> Path:
    """A moved copy: its store says where it was."""
    target = tmp_path / "home"
    shutil.copytree(two, target)
    return target


def name(effect_id: str = ATE) -> str:
    return model_name("rain_delays", effect_id)


def versions(home: Path, effect_id: str = ATE) -> dict[str, ModelVersion]:
    """Versions by window."""
    found = client(home).search_model_versions(f"name = '{name(effect_id)}'")
    return {each.tags["window"]: each for each in found}


def aliases(home: Path, effect_id: str = ATE) -> dict[str, str]:
    """Alias to window."""
    model = client(home).get_registered_model(name(effect_id))
    by_number = {str(each.version): window for window, each in versions(home, effect_id).items()}
    return {alias: by_number[str(number)] for alias, number in model.aliases.items()}


def rule(home: Path, decision: str, meant: Meant = NEWEST, reason: str = "looks right") -> None:
    loaded = windows.study()
    ruling = Ruling(ATE, decision, reason, "Ada", meant)
    decide(sample.profile(home), loaded.study, ruling)
    champion.sync(sample.profile(home), loaded, ATE)


def test_a_version_is_a_window_and_says_its_verdict_first(two: Path) -> None:
    assert set(versions(two)) == {"2013-01", "2013-02"}
    january = versions(two)["2013-01"]
    assert january.description.startswith("DOUBTFUL: ")
    recorded = windows.record(two, "2013-01")
    assert january.tags["run_key"] == recorded.run_key
    assert january.tags["data"] == "flights v12, weather v0"
    assert january.tags["checks_failed"] == "attrition.gap"
    assert len(client(two).search_registered_models()) == EFFECTS


def test_gates_decide_the_candidate_and_nobody_the_champion(home: Path) -> None:
    assert aliases(home) == {CANDIDATE: "2013-02"}
    gates = {"gates": {"irm.*": {"attrition.gap": "<= 0.02"}}}
    loaded = windows.study(gates)
    windows.register_all(windows.record(home, "2013-03", loaded=loaded))
    assert aliases(home, PLR) == {CANDIDATE: "2013-03"}
    assert aliases(home).get(CHAMPION) is None
    assert "2013-03" not in aliases(home).values()
    text = client(home).get_registered_model(name()).description
    assert "Refused by its gates: 2013-03 (attrition.gap)" in text


def test_promotion_moves_the_alias_and_says_who_why_and_what_was_before(home: Path) -> None:
    january = Meant(sample.span("2013-01"))
    rule(home, PROMOTED, january, "first that holds")
    assert aliases(home) == {CHAMPION: "2013-01", CANDIDATE: "2013-02"}
    rule(home, PROMOTED, reason="newer")
    assert aliases(home) == {CHAMPION: "2013-02"}
    tags = versions(home)["2013-02"].tags
    before = windows.record(home, "2013-01").run_key
    assert {key: tags[key] for key in ("reviewed_by", "reason", "previous", "decision")} == {
        "reviewed_by": "Ada",
        "reason": "newer",
        "previous": before,
        "decision": PROMOTED,
    }
    text = client(home).get_registered_model(name()).description
    assert text.startswith("**DOUBTFUL: rain raises dep_delay by ")
    assert "Champion: 2013-02, promoted by Ada: newer" in text
    assert 'Do not press "Promote model"' in text
    assert aliases(home, PLR) == {CANDIDATE: "2013-02"}, "a decision is on one effect"


def test_the_experiments_note_names_the_promoted_window(home: Path) -> None:
    first = "plr.slope.rain.dep_delay"  # the headline effect
    loaded = windows.study()
    decide(sample.profile(home), loaded.study, Ruling(first, PROMOTED, "good", "Ada"))
    champion.sync(sample.profile(home), loaded, first)
    note = client(home).get_experiment_by_name("rain_delays").tags["mlflow.note.content"]
    assert "promoted: 2013-02" in note.splitlines()[0]
    windows.register_all(windows.record(home, "2013-03"))
    note = client(home).get_experiment_by_name("rain_delays").tags["mlflow.note.content"]
    assert "promoted: 2013-02" in note.splitlines()[0], "a registration keeps it"


def test_a_rejected_champion_loses_its_alias(home: Path) -> None:
    rule(home, PROMOTED)
    rule(home, REJECTED, Meant(sample.span("2013-02")), "wrong data")
    assert aliases(home) == {CANDIDATE: "2013-01"}
    assert versions(home)["2013-02"].tags["decision"] == REJECTED


def test_a_failed_gate_on_drift_does_not_move_the_champion(home: Path) -> None:
    rule(home, PROMOTED)
    windows.register_all(windows.record(home, "2013-03", shift=60.0))
    assert aliases(home) == {CHAMPION: "2013-02"}
    version = versions(home)["2013-03"]
    assert version.tags["gates_failed"] == "drift.p_value"
    assert version.tags["drift"].startswith("+")
    assert version.description.startswith("REJECTED: ")


def test_doing_it_twice_changes_nothing(home: Path) -> None:
    rule(home, PROMOTED)
    recorded = windows.record(home, "2013-02")
    windows.register_all(recorded)
    before = everything(home)
    windows.register_all(recorded)
    rule(home, PROMOTED)
    assert everything(home) == before


@pytest.mark.slow
def test_windows_registered_in_another_order_stand_the_same(tmp_path: Path) -> None:
    windows.register_all(windows.record(tmp_path, "2013-02"), windows.record(tmp_path, "2013-01"))
    assert aliases(tmp_path) == {CANDIDATE: "2013-02"}


def test_an_effect_without_an_estimate_gets_no_version(tmp_path: Path) -> None:
    nothing = {"theta": None, "se": None, "status": "failed", "error_code": "no_variation"}
    windows.register_all(windows.record(tmp_path, "2013-01", changes={ATE: nothing}))
    names = {each.name for each in client(tmp_path).search_registered_models()}
    assert name(PLR) in names
    assert name() not in names


LOAD = """
import json, sys
def refuse(event, args):
    if event == "pickle.find_class":
        print("pickle", args[0], args[1], file=sys.stderr)
        raise SystemExit(3)
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
sys.addaudithook(refuse)
model = mlflow.pyfunc.load_model(sys.argv[2])
frame = pd.DataFrame({"origin": ["JFK", "EWR", "nowhere"]})
whole = pd.DataFrame({"x": [1, 2]})
none = lambda frame: frame.astype(object).where(frame.notna(), None)
found = [none(model.predict(each)) for each in (frame, whole)]
print(json.dumps([each.to_dict("records") for each in found]))
"""


def test_the_model_loads_from_a_moved_home_without_a_pickle_and_predicts(home: Path) -> None:
    """A process of its own dies at the first class that a pickle names."""
    champion.sync(sample.profile(home), windows.study(), ATE)  # opening rewrites the moved root
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LOAD,
            sample.profile(home).mlflow_address,
            f"models:/{name()}@{CANDIDATE}",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
    )
    assert done.returncode == 0, done.stderr
    groups, whole = json.loads(done.stdout.splitlines()[-1])
    effects = _effects(home)
    assert [row["theta"] for row in groups] == [
        effects[f"{ATE}@origin=JFK"]["theta"],
        effects[f"{ATE}@origin=EWR"]["theta"],
        None,
    ]
    assert [row["theta"] for row in whole] == [effects[ATE]["theta"]] * 2


def _effects(home: Path) -> dict[str, Any]:
    (run,) = runs(home, "tags.kind = 'window' AND tags.window = '2013-02'")
    rows = json.loads(artifact(home, run, "effects.json").read_text())["effects"]
    return {row["effect_id"]: row for row in rows}


def test_files_are_equal_for_equal_runs_and_name_no_place_of_this_machine(home: Path) -> None:
    (run,) = runs(home, "tags.kind = 'window' AND tags.window = '2013-02'")
    folder = artifact(home, run, f"models/{ATE}")
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(found) == {
        "MLmodel", "effect_model.py", "effect.json", "requirements.txt", "python_env.yaml",
    }  # fmt: skip
    assert not any(str(place) in text for place in (home, Path.cwd()) for text in found.values())


@pytest.mark.parametrize(
    "point",
    [
        "after_version",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("before_version", *POINTS[4:7])),
    ],
)
def test_a_killed_registration_leaves_no_half_model(tmp_path: Path, point: str) -> None:
    sample.record(tmp_path)
    answer = tmp_path / "answer"
    killed = process(tmp_path, answer, point)
    killed.join()
    assert killed.exitcode == -9
    assert not answer.exists()
    recorded = sample.record(tmp_path)
    register.run(recorded.resolved, recorded.estimate, recorded.profile)
    found = client(tmp_path).search_model_versions()
    assert len(found) == EFFECTS
    assert len({each.name for each in found}) == EFFECTS
    ids = {run.info.run_id for run in runs(tmp_path)}
    assert all(each.run_id in ids for each in found), "no version of a deleted run"


def test_a_decision_that_died_before_mlflow_is_mended_by_the_next(home: Path) -> None:
    loaded = windows.study()
    decide(sample.profile(home), loaded.study, Ruling(ATE, PROMOTED, "good", "Ada"))
    assert CHAMPION not in aliases(home), "killed here"
    windows.register_all(windows.record(home, "2013-03"))
    assert aliases(home) == {CHAMPION: "2013-02", CANDIDATE: "2013-03"}
