"""The Java side of a local Spark: which Java, which JARs, which options."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from estimators.errors import PlatformError

_NEEDED = 17
_LOGGING = Path(__file__).parent / "log4j2.properties"
_JAVA_REMEDY = (
    "install Java 17 (on Debian: apt-get install openjdk-17-jre-headless) or point JAVA_HOME to it"
)


@dataclass(frozen=True, slots=True)
class Java:
    """The Java that Spark's launcher will take.

    Attributes
    ----------
    path
        The program.
    major
        Such as 17.
    banner
        What ``java -version`` prints: the class archive belongs to exactly this build.
    """

    path: str
    major: int
    banner: str


def find_java() -> Java:
    """Find Java as Spark's launcher does: ``JAVA_HOME``, else the path.

    Raises
    ------
    PlatformError
        None there (``no_java``), or older than 17 (``old_java``).
    """
    home = os.environ.get("JAVA_HOME")  # the launcher's own rule; a profile cannot change it
    path = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    place = f"JAVA_HOME={home}" if home else "the path"
    try:
        banner = _banner(path) if path else ""
    except OSError:
        banner = ""
    found = re.search(r'version "(\d+)', banner)
    if path is None or found is None:
        raise PlatformError(f"no Java by {place}", code="no_java", remedy=_JAVA_REMEDY)
    major = int(found.group(1))
    if major < _NEEDED:
        raise PlatformError(
            f"Spark needs Java {_NEEDED} or newer; {path} is version {major}",
            code="old_java",
            remedy=_JAVA_REMEDY,
        )
    return Java(path, major, banner)


def _banner(path: str) -> str:
    shown = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    return shown.stderr


def jars_dir() -> Path:
    """Where the Delta JARs and the class archive lie: beside the interpreter, never in the home."""
    return Path(sys.prefix) / "causeway-jars"


def jars() -> list[Path]:
    """The Delta JARs, in the order of the class path.

    Raises
    ------
    PlatformError
        They were never fetched (``no_jars``).
    """
    found = sorted(jars_dir().glob("*.jar"))
    if not found:
        raise PlatformError(
            f"the Delta JARs are not in {jars_dir()}",
            code="no_jars",
            remedy="`make setup` fetches them; `causeway doctor` says what else is missing",
        )
    return found


def class_path() -> str:
    """The JARs as a class path. The class archive is valid for exactly this order."""
    return os.pathsep.join(map(str, jars()))


def class_archive(java: Java) -> Path:
    """Path of the class archive of this Java and this environment; it may not exist.

    Another Java, or an environment that was moved, has another name: a stale archive is never
    opened (the virtual machine would reject it with a warning at each start).
    """
    identity = f"{java.banner}\n{sys.prefix}\n{spark_home()}"
    return jars_dir() / f"spark-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsa"


def spark_home() -> Path:
    """Folder of the installed pyspark. A foreign ``SPARK_HOME`` would start another version."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise PlatformError(
            "pyspark is not installed", code="no_pyspark", remedy="install `causeway[spark]`"
        )
    return Path(spec.origin).parent


def options(log: Path, archive: Path | None, *, dump: bool = False) -> str:
    """Options of the driver's virtual machine.

    The light compiler and the serial collector are for small local work: they save seconds of
    start-up and cost throughput in long jobs.

    Parameters
    ----------
    log
        Spark's log file.
    archive
        Class archive to use, or to write with `dump`; None: neither.
    """
    given = [
        f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
        f"-Dcauseway.log={log}",
        "-Duser.timezone=UTC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
    ]
    if archive is not None and dump:
        given.append(f"-XX:ArchiveClassesAtExit={archive}")
    elif archive is not None and archive.exists():
        given += [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"]
    return " ".join(map(_quoted, given))


def _quoted(option: str) -> str:
    """An option as Spark's launcher reads it back: a clone's or a home's path may hold spaces."""
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if " " in option else option


def ended(within: float = 0.0) -> bool:
    """Whether the virtual machine that this process started is gone, or is in so many seconds."""
    if "pyspark" not in sys.modules:
        return False
    from pyspark import SparkContext

    process = getattr(SparkContext._gateway, "proc", None)
    if process is None:
        return False
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True
