"""A PostgreSQL of its own: Debian's programs, a socket in a folder, the databases of `infra/`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.machine import SERVICES, Machine

USER = "causeway"


@dataclass(frozen=True, slots=True)
class Database:
    """A running PostgreSQL."""

    programs: Path
    socket: Path
    password: str

    def run(self, program: str, *words: str, text: str | None = None, user: str = USER) -> str:
        """What one of its programs prints."""
        given = {"PGHOST": str(self.socket), "PGUSER": user, "PGPASSWORD": self.password}
        done = subprocess.run(
            [str(self.programs / program), *words],
            env=os.environ | given,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, database: str, query: str) -> str:
        """The answer to a query, bare."""
        return self.run("psql", "-X", "-t", "-A", "-d", database, "-c", query).strip()


def programs() -> Path:
    """Where PostgreSQL's programs lie; skips where there are none."""
    usual = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    places = [*usual[-1:], *([Path(found).resolve()] if found else [])]
    if not places:
        pytest.skip("no PostgreSQL here (Debian: apt-get install postgresql)")
    return places[0].parent


@contextmanager
def postgresql(machine: Machine, password: str) -> Iterator[Database]:
    """Start one with the roles and databases of `databases.sql`; passwords are asked for."""
    where, folder = programs(), machine.state / "postgresql"
    folder.mkdir()
    secret = folder / "password"
    secret.write_text(password)
    machine.give(folder)
    data = ["-D", str(folder / "data")]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    making = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
    _as(machine, where / "initdb", *data, *making, "--no-sync")
    secret.unlink()
    log = str(folder / "postgresql.log")
    _as(machine, where / "pg_ctl", *data, "-o", options, "-l", log, "-w", "start")
    database = Database(where, folder, password)
    try:
        script = (SERVICES / "databases.sql").read_text()
        for _ in range(2):  # twice without harm
            database.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", text=script, user="postgres")
        database.run(
            "psql", "-X", "-q", user="postgres", text=f"ALTER ROLE {USER} PASSWORD '{password}'"
        )
        yield database
    finally:
        _as(machine, where / "pg_ctl", *data, "-m", "immediate", "-w", "stop")


def _as(machine: Machine, program: Path, *words: str) -> None:
    """Run a program of PostgreSQL's, which refuses root, as the services' user."""
    done = subprocess.run(
        [*machine.user, str(program), *words],
        cwd=machine.state,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
