"""`validate`: quick because nothing heavy is imported, and complete."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.pipelines.command import Causeway

HEAVY = (
    "pyspark", "delta", "deltalake", "pyarrow", "ray", "prefect", "mlflow", "pandas", "numpy",
    "scipy", "sklearn", "xgboost", "matplotlib", "rich",
)  # fmt: skip
PROBE = """
import json, sys
from pipelines.cli import main
sys.argv = ["causeway", "validate", "rain_delays"]
try:
    main()
except SystemExit as left:
    print(json.dumps([left.code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_validate_imports_nothing_heavy(environment: Mapping[str, str]) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True
    )
    seconds = time.monotonic() - began
    print(f"validate took {seconds:.2f} s, interpreter included")  # shown by pytest -s; a figure
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "yaml" in modules, "the probe looks at the wrong process"
    assert not set(HEAVY) & set(modules)


def test_a_valid_study_names_its_effects(here: Causeway) -> None:
    ran = here("validate", "rain_delays", "--json")
    assert ran.code == 0
    assert ran.object["valid"] is True
    assert "irm.ate.rain.dep_delay" in ran.object["effects"]
    assert ran.object["error"] is None


STUDY = """\
study: small
sources: {t: {table: t}}
units: {sql: "SELECT id, d, y, x FROM t", id: id}
treatments: {d: binary}
outcomes: {y: continuous}
covariates: [x]
effects: [{method: plr}]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    return file


def test_the_small_study_is_valid(here: Causeway, study: Path) -> None:
    ran = here("validate", str(study))
    assert ran.code == 0, ran.err
    assert "plr.slope.d.y" in ran.out


def test_all_faults_are_listed_with_line_and_nearest_name(here: Causeway, study: Path) -> None:
    study.write_text(STUDY.replace("method: plr", "method: plrr").replace("d: binary", "d: binery"))
    ran = here("validate", str(study))
    assert ran.code == 3
    assert ran.out == ""
    assert "2 faults" in ran.err
    assert "small.yaml:4:" in ran.err
    assert "small.yaml:7:" in ran.err
    assert "did you mean 'plr'?" in ran.err


def test_faults_are_in_the_json_error_too(here: Causeway, study: Path) -> None:
    study.write_text(STUDY.replace("method: plr", "method: plrr"))
    ran = here("validate", str(study), "--json")
    error = ran.object["error"]
    assert ran.code == 3
    assert (error["code"], error["type"]) == ("invalid_study", "StudyError")
    assert error["where"]["line"] == 7
    assert [fault["where"]["line"] for fault in error["faults"]] == [7]


def test_an_invalid_study_is_not_run(here: Causeway, study: Path, home: Path) -> None:
    study.write_text(STUDY.replace("method: plr", "method: plrr"))
    ran = here("run", str(study), "--json")
    assert ran.code == 3
    assert ran.object["status"] == "failed"
    assert ran.object["error"]["type"] == "StudyError"
    assert not home.exists()
