"""What the units of `infra/services` promise: no root, no secret, only what a service needs."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conf.profile import load_profile
from tests.infra.machine import ROOT, SERVICES

UNITS = sorted(each.stem for each in SERVICES.glob("*.service"))
SECRETS = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|WEBHOOK")
MOST_EXPOSED = 2.0  # of 10; a service with User= alone has 9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `install.sh` writes, below a folder, after two runs."""
    folder = tmp_path_factory.mktemp("root")
    for _ in range(2):
        subprocess.run(
            ["/bin/sh", str(SERVICES / "install.sh")],
            env=os.environ | {"DESTDIR": str(folder)},
            check=True,
        )
    return folder


def unit(root: Path, name: str) -> Path:
    return root / "etc" / "systemd" / "system" / f"{name}.service"


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_no_root_and_holds_no_secret(root: Path, name: str) -> None:
    lines = unit(root, name).read_text().splitlines()
    assert "User=causeway" in lines
    assert "NoNewPrivileges=yes" in lines
    assert "ProtectSystem=strict" in lines
    assert "ReadWritePaths=/srv/causeway" in lines
    assert not any("@" in each and "@system-service" not in each for each in lines)
    for each in lines:
        if each.startswith(("Environment=", "ExecStart=")):
            assert not SECRETS.search(each), each
    (command,) = [each for each in lines if each.startswith("ExecStart=")]
    program = Path(command.removeprefix("ExecStart=").split()[0])
    assert program.parent == ROOT / ".venv" / "bin"
    assert (Path(sys.prefix) / "bin" / program.name).is_file()


def test_a_secret_is_in_files_of_root_alone_and_made_once(root: Path) -> None:
    etc = root / "etc" / "causeway"
    found = {}
    for file in sorted(etc.iterdir()):
        mode = stat.S_IMODE(file.stat().st_mode)
        given = re.findall(r"^(\w+)=(.+)$", file.read_text(), re.MULTILINE)
        secret = {name: value for name, value in given if SECRETS.search(name)}
        assert mode == (0o600 if secret else 0o644), file
        found |= secret
    assert set(found) == {
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "RAY_AUTH_TOKEN",
    }
    assert all(len(value) >= 48 for value in found.values())
    assert found["PREFECT_API_AUTH_STRING"] == found["PREFECT_SERVER_API_AUTH_STRING"]
    assert len(set(found.values())) == len(found) - 1
    before = {file.name: file.read_text() for file in etc.iterdir()}
    subprocess.run(
        ["/bin/sh", str(SERVICES / "install.sh")],
        env=os.environ | {"DESTDIR": str(root)},
        check=True,
    )
    assert {file.name: file.read_text() for file in etc.iterdir()} == before


def test_the_profile_of_the_services_is_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAUSEWAY_HOME", "/srv/causeway/home")
    place = load_profile(str(root / "etc" / "causeway" / "profile.yaml"))
    assert place.mlflow_address == "http://127.0.0.1:5000"
    assert place.ray.address == "127.0.0.2:6379"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_the_units_and_finds_them_closed(root: Path) -> None:
    units = [str(unit(root, name)) for name in UNITS]
    timers = [str(each) for each in unit(root, "x").parent.glob("*.timer")]
    analyze = str(shutil.which("systemd-analyze"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units, *timers],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for each in units:
        shown = subprocess.run(
            [analyze, "security", "--offline=true", each],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        level = re.search(r"Overall exposure level for .*: ([\d.]+)", shown)
        assert level is not None
        assert float(level[1]) <= MOST_EXPOSED, each
