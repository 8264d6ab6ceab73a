"""What a machine can do wrong: each is one clear message with a remedy, and exit code 6."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from estimators.errors import CausewayError, ContractError, PlatformError, RetryableError
from pipelines.faults import translate
from pipelines.ports import claim, is_free
from tests.pipelines.command import Causeway
from tests.pipelines.test_cli_effects import JANUARY, write


def test_a_taken_port_is_named_with_a_way_out(here: Causeway, home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = here("ui", "--port", str(port))
    assert refused.code == 6
    assert f"port {port} of 127.0.0.1 is taken" in refused.err
    assert "--port 0" in refused.err
    assert not home.exists(), "nothing is made before the port is known to be free"


def test_port_0_is_any_free_one() -> None:
    port = claim(0, "--port")
    assert port > 1024
    assert is_free(port)


def test_a_home_below_a_file(here: Causeway, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = here("demo", CAUSEWAY_HOME=str(tmp_path / "file" / "home"))
    assert refused.code == 6
    assert "CAUSEWAY_HOME" in refused.err
    assert "Traceback" not in refused.err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB, full but for a little."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "-l", str(place)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    def fill() -> None:
        for number in range(100):
            write(small_disk, f"{number:064}", JANUARY)

    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever delta-rs makes of it
        fill()
    error = translate(raised.value, small_disk)
    assert isinstance(error, PlatformError)
    assert error.code == "disk_full"
    assert str(small_disk) in str(error)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a read-only file system")
def test_a_read_only_home(here: Causeway, small_disk: Path) -> None:
    subprocess.run(["/bin/mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = here("demo", CAUSEWAY_HOME=str(small_disk / "home"))
    assert refused.code == 6
    assert "not writable" in refused.err
    assert "CAUSEWAY_HOME" in refused.err


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (RuntimeError("Py4J: java.io.IOException: No space left on device"), "disk_full"),
        (RetryableError("lost: No space left on device (os error 28)"), "disk_full"),
        (PermissionError(errno.EACCES, "Permission denied"), "not_writable"),
        (OSError(errno.EROFS, "Read-only file system"), "not_writable"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "bad_home"),
        (MemoryError(), "memory"),
        (ModuleNotFoundError("No module named 'ray'", name="ray"), "no_engine"),
        (ModuleNotFoundError("No module named 'x'", name="x"), "internal"),
        (ZeroDivisionError("division by zero"), "internal"),
        (ContractError("two rows", code="duplicate_ids"), "duplicate_ids"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_an_exception_becomes(raised: Exception, code: str) -> None:
    error = translate(raised, Path("/home"))
    assert error.code == code
    assert isinstance(error, CausewayError)
    if code in ("disk_full", "not_writable", "bad_home", "memory", "no_engine"):
        assert error.exit_code == 6
        assert error.remedy


def test_the_cause_of_an_exception_counts() -> None:
    wrapped = ValueError("the writer failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert translate(wrapped).code == "disk_full"
