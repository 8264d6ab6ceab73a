"""Lifetimes of Spark and Ray: started when first used, stopped by whoever started them."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.profile import Profile
from estimators.errors import PlatformError, first_line
from jobs.orphans import cleared
from jobs.spark import jvm

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["jars_dir", "kept_spark", "own_session", "ray_cluster", "spark_session"]

jars_dir = jvm.jars_dir

_SOCKET_PATH_MAX = 40  # Ray appends about 60 characters; a Unix socket's path ends at 107

_KEPT: list[str] = []  # profiles of the `kept_spark` that are open
_ANYWHERE = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Bound parameters fail with Delta's extension unless they are constants (delta-io/delta#7640).
    "spark.sql.legacy.parameterSubstitution.constantsOnly": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


@contextmanager
def spark_session(profile: Profile, name: str) -> Iterator[SparkSession]:
    """A Spark session with Delta; the one that is running, where there is one.

    One a process, started on first use. It is stopped on leaving only by the call that started
    it, and only where the profile's engines are `sequential`: its memory is then free for Ray.
    Within `kept_spark` it stays until that is left.

    Parameters
    ----------
    profile
        Its ``spark.master`` is a local master, a cluster's, or a Connect address (``sc://``).
    name
        Name of the application in Spark's own pages and logs.

    Raises
    ------
    PlatformError
        No Java, no JARs, or Spark does not start.
    """
    connect = profile.spark.master.startswith("sc://")
    running = _running(connect=connect)
    if running is not None:
        yield running
        return
    session = _connect(profile, name) if connect else _start(profile, name)
    try:
        yield session
    finally:
        if profile.engines == "sequential" and not _KEPT:
            _stop(session, connect=connect)


@contextmanager
def kept_spark(profile: Profile) -> Iterator[None]:
    """Keep the Spark that is first needed meanwhile: for several small jobs in a row.

    It takes its memory beside Ray's, and spares each job a start (some 10 s) and a cold compiler.
    """
    connect = profile.spark.master.startswith("sc://")
    found = _running(connect=connect)
    _KEPT.append(profile.name)
    try:
        yield
    finally:
        _KEPT.pop()
        session = _running(connect=connect)
        if session is not None and found is None and not _KEPT:
            _stop(session, connect=connect)


def own_session(spark: SparkSession) -> SparkSession:
    """A session beside `spark` with names of its own: windows in parallel share no views."""
    session = spark.newSession()
    for name, value in _ANYWHERE.items():
        session.conf.set(name, value)
    return session


def _running(*, connect: bool) -> SparkSession | None:
    """The session that this process already has; sessions of other threads count too."""
    if "pyspark" not in sys.modules:
        return None
    if connect:
        from pyspark.sql.connect.session import SparkSession as ConnectSession

        return ConnectSession.getActiveSession()
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is None:
        return None
    if jvm.ended():
        _forget_session()
        _forget_gateway()
        return None
    return SparkSession.builder.getOrCreate()


def _connect(profile: Profile, name: str) -> SparkSession:
    from pyspark.sql import SparkSession

    settings = _ANYWHERE | profile.spark.settings
    try:
        builder = SparkSession.builder.remote(profile.spark.master).appName(name)
        return builder.config(map=settings).getOrCreate()
    except Exception as error:
        raise PlatformError(
            f"no Spark at {profile.spark.master}: {first_line(error)}",
            code="spark_start",
            remedy="check `spark.master` of the profile and `pip install causeway[spark]`",
        ) from error


def _start(profile: Profile, name: str, *, dump: Path | None = None) -> SparkSession:
    """Start a driver in this process, its output in the home's logs.

    Parameters
    ----------
    dump
        Write a class archive there at exit, instead of using one.
    """
    java = jvm.find_java()
    logs = profile.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_HOME"] = str(jvm.spark_home())
    settings = _settings(profile, name)
    if profile.spark.master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        archive = dump or jvm.class_archive(java)
        settings["spark.driver.extraJavaOptions"] = jvm.options(
            logs / "spark.log", archive, dump=dump is not None
        )
    return _launch(settings | profile.spark.settings, logs / "spark-start.log")


def _settings(profile: Profile, name: str) -> dict[str, str]:
    given = {
        "spark.master": profile.spark.master,
        "spark.app.name": f"causeway-{name}",
        "spark.driver.memory": profile.spark.memory,
    }
    given |= _ANYWHERE | _DELTA
    if profile.spark.master.startswith("local"):
        scratch = profile.home / "tmp"
        return given | {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraClassPath": jvm.class_path(),
            "spark.sql.shuffle.partitions": "4",
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
            "spark.local.dir": str(scratch / "spark"),
        }
    return given | {"spark.jars": ",".join(map(str, jvm.jars()))}


def _launch(settings: dict[str, str], output: Path) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.logger import PySparkLogger
    from pyspark.sql import SparkSession

    # PySpark logs every failed analysis to the terminal; the error itself carries all of it.
    for each in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        # Of Spark's own class, which takes its keywords; a level outlives other libraries' set-up.
        PySparkLogger.getLogger(each).setLevel(logging.CRITICAL + 1)
    conf = SparkConf(loadDefaults=False).setAll(list(settings.items()))
    try:
        with output.open("wb") as sink:
            gateway = launch_gateway(conf, popen_kwargs={"stdout": sink, "stderr": sink})
        context = SparkContext(conf=conf, gateway=gateway)
        return SparkSession(context)
    except Exception as error:
        _forget_gateway()
        raise PlatformError(
            f"Spark does not start: {_reason(output) or first_line(error)}",
            code="spark_start",
            remedy=f"read {output}; `causeway doctor` checks Java, JARs, memory and disk",
        ) from error


def _stop(session: SparkSession, *, connect: bool) -> None:
    try:
        session.stop()
    except Exception:  # its virtual machine died; what is left of it is ended below
        if connect:
            raise
        _forget_session()
    if not connect:
        _forget_gateway()


def _forget_session() -> None:
    """Let go of a session whose virtual machine died."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _forget_gateway() -> None:
    """End the driver's virtual machine: a stopped session alone keeps its memory."""
    from pyspark import SparkContext

    gateway: Any = SparkContext._gateway
    SparkContext._gateway = None
    SparkContext._jvm = None
    if gateway is None:
        return
    process = getattr(gateway, "proc", None)
    with suppress(Exception):  # of one that died there is nothing to shut down
        gateway.shutdown()
    if process is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(timeout=60)


def _reason(output: Path) -> str:
    """The line of the launcher's output that says why, if any."""
    lines = output.read_text(errors="replace").splitlines() if output.exists() else []
    telling = [line for line in lines if "Exception" in line or "Error" in line]
    return (telling or lines or [""])[0].strip()[:300]


@contextmanager
def ray_cluster(profile: Profile) -> Iterator[None]:
    """A Ray to submit to: one of our own on one machine, or the profile's.

    With ``address: local`` a cluster is started and stopped here, and no running one is joined.
    A Ray that this process already uses is taken as it is and left alone.

    Raises
    ------
    PlatformError
        Ray does not start or cannot be reached.
    """
    local = profile.ray.address == "local"
    _settle_ray(local=local)
    import ray

    if ray.is_initialized():
        yield
        return
    scratch = _short_folder() if local else None
    with nullcontext() if scratch is None else cleared(scratch):
        try:
            _start_ray(profile, scratch)
            yield
        finally:
            ray.shutdown()


def _settle_ray(*, local: bool) -> None:
    """Say what Ray would otherwise decide by itself, before it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's own default, 15, leaves the fits what other work of a shared machine does not want.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if local:  # with the mode unset Ray writes a token file into the user's home directory
        os.environ["RAY_AUTH_MODE"] = "disabled"
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _start_ray(profile: Profile, scratch: Path | None) -> None:
    import ray

    given: dict[str, Any] = {"address": profile.ray.address, "log_to_driver": False}
    if scratch is not None:
        given |= {
            "num_cpus": profile.ray.num_cpus,
            "object_store_memory": profile.ray.object_store_memory,
            "include_dashboard": False,
            "_temp_dir": str(scratch),
        }
        if profile.device == "cpu":
            given["num_gpus"] = 0
    try:
        with _importable():
            ray.init(logging_level="ERROR", **given)
    except Exception as error:
        raise PlatformError(
            f"no Ray at {profile.ray.address}: {first_line(error)}",
            code="ray_start",
            remedy="check memory, /dev/shm and `ray:` of the profile, and on a cluster the token in"
            " RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH; `causeway doctor` helps",
        ) from error


@contextmanager
def _importable() -> Iterator[None]:
    """Let worker processes import these packages: they inherit the path of this folder."""
    root = str(Path(__file__).resolve().parents[1])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _short_folder() -> Path:
    """A scratch folder for Ray whose sockets' paths fit into the limit of the system."""
    usual = tempfile.gettempdir()
    folder = usual if len(usual) <= _SOCKET_PATH_MAX - len("/cw-12345678") else "/tmp"  # noqa: S108
    return Path(tempfile.mkdtemp(prefix="cw-", dir=folder))
