from __future__ import annotations

import importlib.util
import logging
import logging.config
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from conf.profile import Profile, Ray
from estimators.errors import PlatformError
from jobs import engines
from jobs.spark import jvm

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]


def fake_java(folder: Path, banner: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{banner}' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.mark.parametrize(
    ("banner", "code", "words"),
    [
        (
            'openjdk version "11.0.2" 2019-01-15',
            "old_java",
            "needs Java 17 or .* version 11",
        ),
        ('java version "1.8.0_292"', "old_java", "version 1$"),
        ("sh: something else", "no_java", "no Java by JAVA_HOME="),
    ],
)
def test_a_wrong_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, banner: str, code: str, words: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, banner)))
    with pytest.raises(PlatformError, match=words.removesuffix("$")) as caught:
        jvm.find_java()
    assert (caught.value.code, caught.value.exit_code) == (code, 6)
    assert "openjdk-17" in caught.value.remedy


def test_no_java_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="no Java by the path"):
        jvm.find_java()


def test_jars_that_were_never_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert engines.jars_dir() == tmp_path / "causeway-jars"
    with pytest.raises(PlatformError, match="Delta JARs are not in") as caught:
        jvm.class_path()
    assert "make setup" in caught.value.remedy


def test_the_archive_belongs_to_one_java_and_one_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, other = jvm.Java("java", 17, "17.0.1"), jvm.Java("java", 17, "17.0.2")
    assert jvm.class_archive(one) != jvm.class_archive(other)
    before = jvm.class_archive(one).name
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert jvm.class_archive(one).name != before


@pytest.mark.engines
def test_the_running_session_is_reused_and_left_alone(spark: SparkSession, tmp_path: Path) -> None:
    profile = Profile(name="tests", home=tmp_path)
    with engines.spark_session(profile, "again") as again:
        assert again.sparkContext is spark.sparkContext
    assert spark.sql("SELECT 1").collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.engines
def test_a_session_of_its_own_shares_no_views_and_keeps_utc(spark: SparkSession) -> None:
    one, other = engines.own_session(spark), engines.own_session(spark)
    one.sql("SELECT 1 AS x").createTempView("mine")
    assert not other.catalog.tableExists("mine")
    assert other.conf.get("spark.sql.session.timeZone") == "UTC"
    assert other.conf.get("spark.sql.ansi.enabled") == "true"


SPARK = """
import os, sys
from pathlib import Path
from conf.profile import Profile, Spark
from jobs.engines import spark_session
home = Path(sys.argv[1])
for _ in range(2):
    with spark_session(Profile(name="t", home=home, spark=Spark(memory="1g")), "t") as spark:
        print(spark.sql("SELECT rand(1) IS NULL").collect()[0][0], spark.sparkContext.uiWebUrl)
print(sorted(os.listdir(".")))
"""


@pytest.mark.slow
@pytest.mark.engines
def test_a_session_starts_twice_says_nothing_and_leaves_nothing_in_the_working_directory(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SPARK, str(tmp_path / "home")],
        cwd=work, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["False None", "False None", "[]"]
    assert done.stderr == ""
    assert (tmp_path / "home" / "logs" / "spark.log").exists()


@pytest.mark.engines
def test_a_spark_that_does_not_start_says_why(tmp_path: Path) -> None:
    program = SPARK.replace('memory="1g"', 'memory="nonsense"')
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "home")],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert "PlatformError: Spark does not start" in done.stderr
    assert "spark-start.log" in done.stderr


def test_ray_gets_a_short_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines.tempfile, "gettempdir", lambda: "/" + "long/" * 20)
    folder = engines._short_folder()
    try:
        assert len(str(folder)) <= engines._SOCKET_PATH_MAX
        assert folder.is_dir()
    finally:
        folder.rmdir()


RAY = """
import os, sys
from pathlib import Path
from conf.profile import Profile, Ray
from jobs import engines
os.environ["RAY_ADDRESS"] = "127.0.0.1:1"  # a cluster of somebody else
folders = []
short = engines._short_folder
engines._short_folder = lambda: folders.append(short()) or folders[-1]
profile = Profile(name="t", home=Path(sys.argv[1]), ray=Ray(num_cpus=1, object_store_memory=10**8))
with engines.ray_cluster(profile):
    import ray

    @ray.remote
    def where():
        import estimators.errors, os
        return estimators.errors.__file__, os.environ["RAY_AUTH_MODE"]

    found = ray.get(where.remote())
    with engines.ray_cluster(profile):
        pass
    assert ray.is_initialized()
print(found[1], Path(found[0]).exists(), ray.is_initialized(), folders[0].exists())
print(sorted(os.listdir(".")), (Path.home() / ".ray" / "auth_token").exists())
"""


@pytest.mark.engines
@pytest.mark.slow
def test_ray_is_our_own_and_leaves_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RAY, str(tmp_path / "home")],
        cwd=work, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["disabled True False False", "[] False"], done.stderr


def test_a_ray_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy matters more than Ray's own pages of text."""
    ray = pytest.importorskip("ray")
    # The session's Ray may be running: this test neither sees it nor stops it.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", _refused)
    profile = Profile(name="t", home=tmp_path, ray=Ray(address="10.0.0.1:6379"))
    with (
        pytest.raises(PlatformError, match=r"no Ray at 10\.0\.0\.1:6379") as caught,
        engines.ray_cluster(profile),
    ):
        pass
    assert caught.value.code == "ray_start"


def _refused(**_: object) -> None:
    raise ConnectionError("refused")


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that fetches the JARs, as a module."""
    spec = importlib.util.spec_from_file_location("fetch", ROOT / "infra" / "jars" / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


def test_the_jars_that_are_here_are_the_listed_ones(fetch: ModuleType) -> None:
    assert fetch.complete(engines.jars_dir())
    assert len(fetch.listed()) == 7


def test_a_changed_jar_is_refused(fetch: ModuleType, tmp_path: Path) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"other")
    with pytest.raises(PlatformError, match="not the listed file") as caught:
        fetch.check("a.jar", jar, "0" * 64)
    assert (caught.value.code, caught.value.exit_code) == ("jar_hash", 6)


def test_a_full_disk_is_one_message(
    fetch: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import errno

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(fetch, "resolve", full)
    assert fetch.main() == 6
    shown = capsys.readouterr().err
    assert "No space left on device" in shown
    assert "free 200 MB" in shown
    assert not list(tmp_path.iterdir())


def test_a_repository_out_of_reach(
    fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark's real resolver, sent to a port where nobody listens."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    nobody = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", nobody)
    with pytest.raises(PlatformError, match="cannot be downloaded") as caught:
        fetch.fetch(tmp_path / "causeway-jars")
    assert (caught.value.code, caught.value.exit_code) == ("jars_unreachable", 6)
    assert "proxy" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.engines
def test_a_failed_analysis_is_an_error_whoever_sets_up_logging(spark: SparkSession) -> None:
    """Prefect and others enable all loggers anew; Spark's must still take Spark's keywords."""
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(name).disabled = False
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN"):
        spark.sql("SELECT nowhere FROM VALUES (1) AS t(a)").collect()
