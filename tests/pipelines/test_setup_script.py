"""The set-up script on machines that lack something: one message, one remedy, exit code 6."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = (
    "infra/setup.sh", "infra/bootstrap.lock", "infra/jars/fetch.py", "requirements.lock",
    "pyproject.toml",
)  # fmt: skip
TOOLS = (
    "sh", "dirname", "sed", "head", "grep", "df", "awk", "mkdir", "rm", "mv", "cat", "tail",
    "sha256sum", "flock",
)  # fmt: skip
JAVA = "#!/bin/sh\necho 'openjdk version \"{}\" 2025-04-15' >&2\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the script reads, in a folder with a space."""
    place = tmp_path / "a clone"
    for name in FILES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with Debian's own tools and nothing else."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (place / name).symlink_to(found)
    return place


def add(tools: Path, name: str, script: str) -> None:
    program = tools / name
    program.write_text(script)
    program.chmod(0o755)


def add_python(tools: Path) -> None:
    base = Path(sys.base_prefix) / "bin" / "python3"
    add(tools, "python3", f'#!/bin/sh\nexec "{base}" "$@"\n')


def set_up(clone: Path, tools: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {"PATH": str(tools), "HOME": str(clone.parent), **more}
    return subprocess.run(
        [str(tools / "sh"), str(clone / "infra" / "setup.sh")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def refused(done: subprocess.CompletedProcess[str], says: str, remedy: str) -> None:
    assert done.returncode == 6, done.stderr
    assert says in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_no_python(clone: Path, tools: Path) -> None:
    refused(set_up(clone, tools), "no Python 3.11 or newer", "apt-get install python3.11")


def test_an_old_python_is_not_taken(clone: Path, tools: Path) -> None:
    add(tools, "python3", "#!/bin/sh\nexit 1\n")
    refused(set_up(clone, tools), "no Python 3.11 or newer", "apt-get install python3.11")


def test_a_python_without_venv(clone: Path, tools: Path) -> None:
    # Debian's python3 without python3-venv: every check succeeds but the import of ensurepip.
    add(tools, "python3", '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    refused(set_up(clone, tools), "python3 has no venv module", "python3.11-venv")


def test_no_java(clone: Path, tools: Path) -> None:
    add_python(tools)
    refused(set_up(clone, tools), "no Java 17 or newer", "openjdk-17-jre-headless")


@pytest.mark.parametrize("version", ["11.0.22", "1.8.0_402"])
def test_an_old_java(clone: Path, tools: Path, version: str) -> None:
    add_python(tools)
    add(tools, "java", JAVA.format(version))
    refused(set_up(clone, tools), f"is version {version.split('.', maxsplit=1)[0]}", "JAVA_HOME")


def test_java_home_is_looked_at_first(clone: Path, tools: Path) -> None:
    add_python(tools)
    add(tools, "java", JAVA.format("17.0.15"))
    done = set_up(clone, tools, JAVA_HOME=str(clone / "no java"))
    refused(done, f"{clone}/no java/bin/java does not run", "JAVA_HOME")


def test_too_little_disk(clone: Path, tools: Path) -> None:
    add_python(tools)
    add(tools, "java", JAVA.format("17.0.15"))
    (tools / "df").unlink()
    add(tools, "df", "#!/bin/sh\necho Filesystem\necho /dev/x 9000 8000 1000 90% /\n")
    refused(set_up(clone, tools), "1000 MB free", "free some disk")
    assert not (clone / ".venv").exists()


def test_a_registry_out_of_reach(clone: Path, tools: Path) -> None:
    add_python(tools)
    add(tools, "java", JAVA.format("17.0.15"))
    # A proxy that nobody serves: port 9 discards.
    closed = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = set_up(clone, tools, **closed)
    refused(done, "the package registry is out of reach", "check the network, proxy")
    assert "uv and the build tools" in done.stderr, "it says at which step"
    assert (clone / ".venv" / "causeway-setup.unfinished").exists()
    again = set_up(clone, tools, **closed)
    assert "the last set-up did not finish; starting anew" in again.stderr
    refused(again, "the package registry is out of reach", "check the network, proxy")


def test_locks_hold_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "infra/bootstrap.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for block in text.split("\n\n"):
            for line in block.splitlines():
                if line and not line.startswith((" ", "#")):
                    assert "==" in line
        assert text.count("--hash=sha256:") > text.count("==") / 2


def test_the_bootstrap_lock_has_the_versions_of_the_lock() -> None:
    pins = {
        line.split()[0]
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    first = [
        line.split()[0]
        for line in (ROOT / "infra" / "bootstrap.lock").read_text().splitlines()
        if "==" in line
    ]
    assert {pin.split("==")[0] for pin in first} >= {"uv", "setuptools", "wheel", "hatchling"}
    assert set(first) <= pins
