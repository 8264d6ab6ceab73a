"""Finding and loading studies; validation starts nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.document import MAX_BYTES
from conf.load import find_study, load_study
from estimators.errors import StudyError, UsageError

HEAVY = ("numpy", "pandas", "pyarrow", "pyspark", "ray", "mlflow", "prefect", "xgboost", "sklearn")


def test_a_study_of_the_package_by_name():
    loaded = load_study("rain_delays")
    assert loaded.study.study == "rain_delays"
    assert loaded.path.name == "rain_delays.yaml"
    assert loaded.text == loaded.path.read_text()


def test_the_twin_differs_in_three_covariates_and_nothing_that_is_computed():
    demo, twin = (load_study(f"rain_delays{end}").study for end in ("", "_overcontrolled"))
    assert twin.covariates == [*demo.covariates, "pressure", "humid", "dewp"]
    assert twin.units.sql.replace("       w.pressure, w.humid, w.dewp,\n", "") == demo.units.sql
    same = {"study", "covariates", "units", "schedule"}
    assert twin.model_dump(exclude=same) == demo.model_dump(exclude=same)
    assert twin.units.model_dump(exclude={"sql"}) == demo.units.model_dump(exclude={"sql"})


def test_the_working_directorys_studies_come_first(tmp_path, monkeypatch, small):
    folder = tmp_path / "conf" / "studies"
    folder.mkdir(parents=True)
    (folder / "rain_delays.yaml").write_text(small)
    monkeypatch.chdir(tmp_path)
    assert load_study("rain_delays").study.study == "shops"
    assert find_study("rain_delays_overcontrolled").is_file()


def test_a_study_by_path_and_faults_by_the_path_that_users_know(tmp_path, monkeypatch, small):
    (tmp_path / "mine.yaml").write_text(small.replace("- age", "- aeg"))
    monkeypatch.chdir(tmp_path)
    for given in ("mine.yaml", "./mine.yaml", str(tmp_path / "mine.yaml")):
        with pytest.raises(StudyError) as caught:
            load_study(given)
        assert caught.value.where.file == "mine.yaml"


def test_no_such_study_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        load_study("rain_delay")
    assert caught.value.exit_code == 2
    assert "did you mean 'rain_delays'?" in caught.value.message
    with pytest.raises(UsageError):
        load_study("nowhere/x.yaml")


@pytest.mark.parametrize(
    ("content", "line", "found"),
    [
        (b"study: caf\xe9\n", 1, "not UTF-8 (0xe9)"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"", 1, "an empty file"),
        (b"{}", 1, "an empty mapping"),
        (b"- a\n", 1, "a list"),
        (b"#" * (MAX_BYTES + 1), None, f"more than {MAX_BYTES} bytes"),
    ],
)
def test_files_that_are_no_study(content, line, found, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        load_study(str(path))
    (fault,) = caught.value.faults
    assert found in fault.found
    assert fault.where.line == line


def test_a_byte_order_mark_is_no_fault(tmp_path, small):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + small.encode())
    assert load_study(str(path)).study.study == "shops"


def test_validation_imports_nothing_heavy():
    code = f"""
import json, sys
import conf.load, conf.keys
conf.load.load_study("rain_delays")
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)
    assert json.loads(done.stdout) == []
