"""Fetch the Delta JARs and write the class archive: `python infra/jars/fetch.py`.

Run by the interpreter of the environment that it serves; `make setup` calls it. The JARs come
once, through Spark's own resolver (so a mirror or proxy set up for Spark is used), everything that
Spark ships already is excluded, and their hashes must be the committed ones. What is complete is
left alone, and no network is needed then. Exit code 6: the machine lacks something.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from estimators.errors import CausewayError, PlatformError  # noqa: E402  (the path comes first)
from jobs.spark import jvm  # noqa: E402

DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"
SHIPPED_BY_SPARK = "com.*:*,org.*:*,javax.*:*,commons-*:*,io.airlift:*"
RESOLVER_LIMIT_S = 300


def listed() -> dict[str, str]:
    """File name to sha256, as committed."""
    lines = (HERE / "jars.sha256").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def complete(folder: Path) -> bool:
    """Whether `folder` holds exactly the listed JARs."""
    present = {path.name: sha256(path) for path in folder.glob("*.jar")}
    return present == listed()


def sha256(path: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(folder: Path) -> None:
    """Resolve, check and put the JARs into `folder`, all or none."""
    with tempfile.TemporaryDirectory(prefix=".jars-", dir=folder.parent) as scratch:
        resolve(Path(scratch))
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        for name, digest in listed().items():
            # The resolver puts the organisation before the name: io.delta_delta-storage-4.4.0.jar
            found = next(Path(scratch, "jars").glob(f"*_{name}"), None)
            check(name, found, digest)
            assert found is not None  # noqa: S101  (for the type checker; `check` raised)
            shutil.copyfile(found, fresh / name)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)


def resolve(scratch: Path) -> None:
    """Let Spark's resolver download into `scratch`."""
    idle = scratch / "idle.py"
    idle.write_text("")
    command = [
        str(jvm.spark_home() / "bin" / "spark-submit"),
        *("--master", "local[1]", "--packages", DELTA, "--exclude-packages", SHIPPED_BY_SPARK),
        *("--conf", f"spark.jars.ivy={scratch}", str(idle)),
    ]
    given = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    environment = {**os.environ, **given, "SPARK_HOME": str(jvm.spark_home())}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False,
            timeout=RESOLVER_LIMIT_S, cwd=scratch,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise unreachable(f"no answer within {RESOLVER_LIMIT_S} s") from error
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    if "No space left" in output:
        raise OSError(errno.ENOSPC, "No space left on device")
    raise unreachable(reason(output))


def reason(output: str) -> str:
    """The lines of the resolver's output that say why."""
    telling = ("unresolved dependency", "not found", "Exception", "refused", "timed out")
    lines = [line.strip() for line in output.splitlines()]
    named = [line for line in lines if any(word in line for word in telling)]
    return (named or lines or ["no output"])[0][:200]


def unreachable(why: str) -> PlatformError:
    """The repository of JARs does not answer, or does not have them."""
    return PlatformError(
        f"the Delta JARs cannot be downloaded: {why}",
        code="jars_unreachable",
        remedy="check the network; behind a proxy set JAVA_TOOL_OPTIONS="
        "'-Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT'; for a mirror of Maven Central set "
        "spark.jars.ivySettings in spark-defaults.conf. Then run `make setup` again",
    )


def check(name: str, found: Path | None, digest: str) -> None:
    """Refuse a JAR that is not the listed one."""
    if found is None:
        raise unreachable(f"{name} did not come with the others")
    if sha256(found) != digest:
        raise PlatformError(
            f"{name} is not the listed file: sha256 {sha256(found)}, expected {digest}",
            code="jar_hash",
            remedy="do not use it; find out what lies between this machine and Maven Central",
        )


def archive(java: jvm.Java) -> bool:
    """Write the class archive unless it is there; without one Spark only starts more slowly."""
    target = jvm.class_archive(java)
    if target.exists():
        return True
    fresh = target.with_suffix(f".{os.getpid()}")
    command = [sys.executable, str(HERE / "archive.py"), str(fresh)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired as error:
        done = subprocess.CompletedProcess(command, 1, "", str(error))
    if done.returncode == 0 and fresh.exists():
        for stale in target.parent.glob("spark-*.jsa"):
            stale.unlink()
        fresh.rename(target)
        return True
    fresh.unlink(missing_ok=True)
    print(f"no class archive ({reason(done.stderr)}): Spark starts 4 s slower", file=sys.stderr)
    return False


def main() -> int:
    """Fetch what is missing."""
    folder = jvm.jars_dir()
    try:
        java = jvm.find_java()
        if not complete(folder):
            print("fetching the Delta JARs (13 MB)", file=sys.stderr)
            fetch(folder)
        archive(java)
    except CausewayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}:
            raise
        print(
            f"error: cannot write {folder}: {error.strerror}\n"
            "  -> free 200 MB there, or make it writable, then run `make setup` again",
            file=sys.stderr,
        )
        return PlatformError.exit_code
    return 0


if __name__ == "__main__":
    assert importlib.util.find_spec("pyspark"), "run me with the environment's interpreter"  # noqa: S101
    sys.exit(main())
