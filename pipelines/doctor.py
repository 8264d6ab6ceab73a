"""What this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from conf.profile import Profile, prefect_server
from estimators.errors import CausewayError, PlatformError
from pipelines.ports import is_free

SCHEMA = "causeway.doctor/1"
_GB = 1e9
_DISK_GB = 2.0
_MEMORY_GB = 3.0
_PORTS = {"MLflow": 5000, "Prefect": 4200}
_ENGINES = {
    "pyspark": "spark", "delta": "spark", "ray": "ray", "prefect": "prefect", "mlflow": "mlflow",
    "xgboost": "", "deltalake": "",
}  # fmt: skip
_DISTRIBUTIONS = {"delta": "delta-spark"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at.

    Attributes
    ----------
    state
        `ok`; `note`: works without it; `missing`: a run would fail.
    """

    name: str
    state: Literal["ok", "note", "missing"]
    found: str
    remedy: str = ""


def examine(profile: Profile) -> list[Line]:
    """Look at everything that a run needs; starts no engine."""
    looks: list[Callable[[Profile], Iterable[Line]]] = [
        _python, _java, _jars, _engines, _home, _memory, _shared_memory, _device, _ports,
        _prefect, _lake, _record,
    ]  # fmt: skip
    return [line for look in looks for line in look(profile)]


def verdict(lines: Iterable[Line]) -> CausewayError | None:
    """The error where something is missing."""
    missing = [line.name for line in lines if line.state == "missing"]
    if not missing:
        return None
    return PlatformError(
        f"missing: {', '.join(missing)}", code="missing", remedy="do as the lines above say"
    )


def as_object(lines: Iterable[Line], error: CausewayError | None) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "ok": error is None,
        "checks": [asdict(line) for line in lines],
        "error": error.as_dict() if error else None,
    }


def text(lines: Iterable[Line]) -> str:
    """A line a thing, its remedy below."""
    out = []
    for line in lines:
        out.append(f"{line.state:<8}{line.name:<15}{line.found}")
        if line.remedy:
            out.append(f"{'':<23}-> {line.remedy}")
    return "\n".join([*out, ""])


def _attempt(name: str, look: Callable[[], str]) -> Line:
    """`ok` with what was found, or `missing` with the error's own remedy."""
    try:
        return Line(name, "ok", look())
    except CausewayError as error:
        return Line(name, "missing", error.message, error.remedy)


def _python(_profile: Profile) -> Iterator[Line]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info >= (3, 11):  # noqa: UP036 - a wheel may have been forced into an older one
        yield Line("python", "ok", found)
    else:
        yield Line("python", "missing", found, "install Python 3.11, then `make setup`")


def _java(_profile: Profile) -> Iterator[Line]:
    from jobs.spark.jvm import find_java

    def shown() -> str:
        java = find_java()
        return f"{java.major} at {java.path}"

    yield _attempt("java", shown)


def _jars(_profile: Profile) -> Iterator[Line]:
    from jobs.spark.jvm import class_archive, find_java, jars, jars_dir

    yield _attempt("delta jars", lambda: f"{len(jars())} in {jars_dir()}")
    try:
        archive = class_archive(find_java())
    except CausewayError:
        return
    if archive.exists():
        yield Line("class archive", "ok", archive.name)
    else:
        yield Line("class archive", "note", "none", "`make setup` writes it: Spark starts faster")


def _engines(_profile: Profile) -> Iterator[Line]:
    """Import each in a process of its own, all at once: what is installed may still be broken."""
    code = "import sys, importlib; importlib.import_module(sys.argv[1])"
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    trials = {
        name: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | quiet,
        )
        for name in _ENGINES
    }
    for name, trial in trials.items():
        _, complaint = trial.communicate()
        yield _imported(name, trial.returncode, complaint.decode(errors="replace"))


def _imported(name: str, code: int, complaint: str) -> Line:

    if code == 0:
        try:
            return Line(name, "ok", version(_DISTRIBUTIONS.get(name, name)))
        except PackageNotFoundError:
            return Line(name, "ok", "version unknown")
    reason = (complaint.strip().splitlines() or ["no reason given"])[-1]
    extra = _ENGINES[name]
    target = f"'causeway[{extra}]'" if extra else "causeway"
    return Line(name, "missing", reason[:200], f"`make setup`, or pip install {target}")


def _home(profile: Profile) -> Iterator[Line]:
    """Write a trial file in the home, or where it would be made."""
    home = profile.home
    place = next(each for each in (home, *home.parents) if each.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = "set CAUSEWAY_HOME to a folder that you may write to"
        yield Line("home", "missing", f"{home}: {error.strerror}", remedy)
        return
    yield Line("home", "ok", str(home) if home.exists() else f"{home} (not made yet)")
    free = shutil.disk_usage(place).free / _GB
    enough = free >= _DISK_GB
    remedy = "" if enough else f"free some: {_DISK_GB:.0f} GB are needed"
    yield Line("disk", "ok" if enough else "missing", f"{free:.1f} GB free", remedy)


def _memory(_profile: Profile) -> Iterator[Line]:
    available = _memory_available()
    enough = available >= _MEMORY_GB
    remedy = "" if enough else f"end other programs: {_MEMORY_GB:.0f} GB are needed"
    yield Line("memory", "ok" if enough else "missing", f"{available:.1f} GB available", remedy)


def _memory_available() -> float:
    """GB that a new process could have, a container's limit included."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if ":" in line
    )
    found = int(fields["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return found / _GB
    return min(found, limit - used) / _GB


def _shared_memory(profile: Profile) -> Iterator[Line]:
    if profile.ray.address != "local":
        return
    free = shutil.disk_usage("/dev/shm").free / _GB  # noqa: S108 - Ray's object store lies there
    need = profile.ray.object_store_memory / _GB
    if free >= need:
        yield Line("shared memory", "ok", f"{free:.1f} GB free in /dev/shm")
    else:
        remedy = f"mount /dev/shm with {need:.1f} GB, or Ray uses the slower disk"
        yield Line("shared memory", "note", f"{free:.2f} GB free in /dev/shm", remedy)


def _device(profile: Profile) -> Iterator[Line]:
    program = shutil.which("nvidia-smi")
    shown = ""
    if program:
        shown = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False
        ).stdout.strip()
    if shown:
        yield Line("gpu", "ok", shown.splitlines()[0])
    elif profile.device == "cuda":
        yield Line("gpu", "missing", "none", "use a profile with `device: cpu`")
    else:
        yield Line("gpu", "note", "none; the profile uses the CPU")
    if profile.device == "cuda":
        yield _jax()


def _jax() -> Line:
    """Only the Gram engine needs it: who runs trees does not miss it."""
    from jobs.gram.products import require_jax

    try:
        require_jax()
    except PlatformError as error:
        return Line("jax", "note", error.message, error.remedy)
    return Line("jax", "ok", version("jax"))


def _ports(_profile: Profile) -> Iterator[Line]:
    for name, port in _PORTS.items():
        if is_free(port):
            yield Line(f"port {port}", "ok", f"free for {name}")
        else:
            option = "--port" if name == "MLflow" else "--prefect-port"
            yield Line(f"port {port}", "note", "taken", f"`causeway ui {option} 0` takes another")


def _prefect(_profile: Profile) -> Iterator[Line]:
    address = prefect_server()
    if not address:
        yield Line("prefect server", "note", "none; each run starts a temporary one")
        return
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=5).close()  # noqa: S310
    except (urllib.error.URLError, OSError, ValueError) as error:
        remedy = "start it (`causeway ui --prefect`) or unset PREFECT_API_URL"
        yield Line("prefect server", "missing", f"{address}: {error}", remedy)
        return
    yield Line("prefect server", "ok", address)


def _lake(profile: Profile) -> Iterator[Line]:
    root = profile.lake_root
    if "://" in root:
        yield Line("lake", "note", root)
        return
    tables = _tables(Path(root))
    if tables:
        yield Line("lake", "ok", ", ".join(tables))
    else:
        yield Line("lake", "note", f"no table in {root}", "`causeway demo` writes one to try")


def _tables(root: Path) -> list[str]:
    from jobs.lake import open_table

    found = []
    for log in sorted(root.glob("*/_delta_log")):
        try:
            found.append(f"{log.parent.name}@{open_table(str(log.parent)).version()}")
        except CausewayError as error:
            found.append(f"{log.parent.name} (unreadable: {error.message})")
    return found


def _record(profile: Profile) -> Iterator[Line]:
    from jobs.lake import read_record

    try:
        rows = read_record(profile.record_root, "effects", columns=["run_key", "study"])
    except Exception as error:  # whatever the reader says, the record is not readable
        yield Line("record", "missing", f"unreadable: {error}", "restore it from a copy")
        return
    studies = set(rows["study"].to_pylist())
    runs = set(rows["run_key"].to_pylist())
    if runs:
        text = f"{rows.num_rows} effects of {len(runs)} runs, {len(studies)} studies"
        yield Line("record", "ok", text)
    else:
        yield Line("record", "note", "empty", "`causeway run STUDY` fills it")
