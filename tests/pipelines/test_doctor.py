"""`doctor`: what is there, what is missing, what to do; nothing is written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from conf.profile import Profile
from pipelines import doctor
from tests.pipelines.command import Causeway
from tests.pipelines.small_study import write_orders


@pytest.mark.engines
@pytest.mark.slow
def test_what_is_missing_has_a_remedy_and_the_rest_is_ok(
    causeway: Causeway, home: Path, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "no java")
    ran = causeway("doctor", "--json", JAVA_HOME=nowhere, PREFECT_API_URL="http://127.0.0.1:9/api")
    lines = {line["name"]: line for line in ran.object["checks"]}
    missing = {name for name, line in lines.items() if line["state"] == "missing"}
    assert missing == {"java", "prefect server"}
    assert all(lines[name]["remedy"] for name in missing)
    assert ran.code == 6
    assert ran.object["ok"] is False
    assert ran.object["error"]["message"] == "missing: java, prefect server"
    for engine in ("pyspark", "delta", "ray", "prefect", "mlflow", "deltalake"):
        assert lines[engine]["state"] == "ok", lines[engine]
        assert lines[engine]["found"][0].isdigit(), "its version"
    assert {"python", "delta jars", "home", "disk", "memory", "gpu", "lake", "record"} <= set(lines)
    assert not home.exists()


def test_lines_for_a_reader() -> None:
    lines = [
        doctor.Line("java", "missing", "none", "install Java 17"),
        doctor.Line("gpu", "note", "none"),
    ]
    assert doctor.text(lines).splitlines() == [
        "missing java           none",
        "                       -> install Java 17",
        "note    gpu            none",
    ]
    error = doctor.verdict(lines)
    assert error is not None
    assert error.exit_code == 6
    assert doctor.verdict(lines[1:]) is None


def test_a_home_that_cannot_be_written_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines = list(doctor._home(Profile(name="p", home=tmp_path / "file" / "home")))
    assert [(line.name, line.state) for line in lines] == [("home", "missing")]
    assert "CAUSEWAY_HOME" in lines[0].remedy


def test_tables_of_the_lake_are_named_with_their_versions(tmp_path: Path) -> None:
    write_orders(tmp_path)
    (line,) = doctor._lake(Profile(name="p", home=tmp_path))
    assert (line.state, line.found) == ("ok", "orders@0")


@pytest.mark.skipif(find_spec("jax_plugins") is not None, reason="JAX has a plugin")
def test_a_profile_with_a_gpu_asks_for_jax_too(tmp_path: Path) -> None:
    """A note: trees run there without."""
    gpu, jax = doctor._device(Profile(name="p", home=tmp_path, device="cuda"))
    assert gpu.name == "gpu"
    assert (jax.name, jax.state) == ("jax", "note")
    assert "jax[cuda12]" in jax.remedy
    assert [each.name for each in doctor._device(Profile(name="p", home=tmp_path))] == ["gpu"]
