"""The services of `infra/services` as their units start them, without systemd, not as root.

`install.sh` makes units, settings and secrets below a folder; a unit's user, environment and
command are then read from the file that it made. Only ports and the places of those files differ.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pipelines.ports import claim

ROOT = Path(__file__).parents[2]
SERVICES = ROOT / "infra" / "services"
PROGRAMS = Path(sys.prefix) / "bin"
PORTS = ("4200", "5000", "6379")
NOBODY = "nobody"


def other_user() -> list[str]:
    """The words before a command that make it run as another user than root.

    Where that user cannot read this Python, it gets the right to read, and no right to write.
    """
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to become another user")
    someone = pwd.getpwnam(NOBODY)
    plain = ["setpriv", f"--reuid={someone.pw_uid}", f"--regid={someone.pw_gid}", "--clear-groups"]
    reading = [*plain, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    asked = f"import sys, httpx; assert sys.version_info[:3] == {sys.version_info[:3]}"
    for words in (plain, reading):
        command = [*words, sys.executable, "-c", asked]
        tried = subprocess.run(command, capture_output=True, cwd="/", check=False)
        if tried.returncode == 0:
            return words
    pytest.skip(f"the user {NOBODY} cannot run this Python")


@dataclass
class Machine:
    """A machine with the services installed; what is started is stopped by `stop`.

    One process a unit: a second start of a unit replaces the first, which must have ended.
    """

    folder: Path
    user: list[str]
    ports: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def etc(self) -> Path:
        return self.folder / "root" / "etc" / "causeway"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def home(self) -> Path:
        return self.state / "home"

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.ports['5000']}"

    @property
    def prefect(self) -> str:
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    def unit(self, name: str) -> dict[str, list[str]]:
        """The settings of an installed unit."""
        file = self.folder / "root" / "etc" / "systemd" / "system" / f"causeway-{name}.service"
        found: dict[str, list[str]] = {}
        for line in self.placed(file.read_text()).splitlines():
            if re.match(r"[A-Za-z]+=", line):
                setting, _, value = line.partition("=")
                found.setdefault(setting, []).append(value)
        return found

    def placed(self, text: str) -> str:
        """A text of an installed file with this machine's ports and folder."""
        for usual, own in self.ports.items():
            text = re.sub(rf"(?<=[:= ]){usual}\b", own, text)
        return text.replace("/etc/causeway", str(self.etc))

    def settings(self, *names: str) -> dict[str, str]:
        """The variables in files of ``/etc/causeway``."""
        lines = "\n".join((self.etc / f"{name}.env").read_text() for name in names).splitlines()
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name: value.strip('"') for name, _, value in pairs}

    def environment(self, name: str) -> dict[str, str]:
        """What a unit's command finds in its environment."""
        unit = self.unit(name)
        files = [Path(each).stem for each in unit["EnvironmentFile"]]
        own = dict(each.split("=", 1) for each in unit.get("Environment", ()))
        own_folder = {"HOME": str(self.state), "TMPDIR": str(self.state / "tmp" / name)}
        base = {"PATH": os.environ["PATH"]} | own_folder
        return base | self.settings(*files) | own

    def start(self, name: str, *more: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a unit's command, with more words and settings, in a session of its own.

        Its temporary folder is new, as PrivateTmp= makes it.
        """
        private = self.state / "tmp" / name
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir()
        self.give(private)
        unit, given = self.unit(name), self.environment(name) | settings
        (command,) = unit["ExecStart"]
        words = [
            word
            for each in shlex.split(command)
            for word in (given[each[1:]].split() if each.startswith("$") else [each])
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.user, *words, *more],
                cwd=unit["WorkingDirectory"][0],
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def run(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the services' user with the worker's settings."""
        given = self.environment("worker") | settings
        return subprocess.run(
            [*self.user, *command],
            cwd=self.state / "worker",
            env={name: value for name, value in given.items() if value},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def give(self, folder: Path) -> None:
        """Let a folder of the state, which the test wrote, belong to the services' user."""
        if self.user:
            someone = pwd.getpwnam(NOBODY)
            for each in (folder, *folder.rglob("*")):
                os.chown(each, someone.pw_uid, someone.pw_gid)

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            end(process)


def family(root: int) -> list[int]:
    """A process and all that came of it and has not lost its parent, the eldest first."""
    found = [root]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all that came of it, itself first, so that it can tell nobody."""
    for each in family(process.pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait(15)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and whatever of its family outlives it, as systemd does."""
    members = family(process.pid)
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for each in members:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait(15)


def status(address: str, user: str = "", password: str = "") -> int:
    """Status of a request, with or without a user; 0 where nobody answers."""
    try:
        return httpx.get(address, auth=(user, password) if user else None, timeout=30).status_code
    except httpx.TransportError:
        return 0


def await_health(machine: Machine, process: subprocess.Popen[bytes], address: str) -> None:
    """Until a server answers; its log where it does not."""
    deadline = time.monotonic() + 180
    while status(address) != 200:
        if process.poll() is not None or time.monotonic() > deadline:
            logs = "\n".join(each.read_text()[-3000:] for each in machine.folder.glob("*.log"))
            raise AssertionError(f"{address} does not answer:\n{logs}")
        time.sleep(0.3)


@contextmanager
def installed() -> Iterator[Machine]:
    """A machine with the files of `install.sh`, nothing started yet."""
    user = other_user()
    folder = Path(tempfile.mkdtemp(prefix="cw-", dir="/tmp"))  # short: sockets lie in it
    folder.chmod(0o755)
    machine = Machine(folder, user, {each: str(claim(0, "")) for each in PORTS})
    try:
        for each in ("home", "mlflow", "prefect", "ray", "tmp/worker", "worker"):
            (machine.state / each).mkdir(parents=True)
        subprocess.run(
            ["/bin/sh", str(SERVICES / "install.sh")],
            env=os.environ | {"DESTDIR": str(folder / "root"), "STATE": str(machine.state)},
            check=True,
        )
        for name in ("causeway.env", "profile.yaml"):
            file = machine.etc / name
            file.write_text(machine.placed(file.read_text()))
        machine.give(machine.state)
        yield machine
    finally:
        machine.stop()
        shutil.rmtree(folder, ignore_errors=True)
