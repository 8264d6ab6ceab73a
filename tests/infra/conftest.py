"""PostgreSQL, MLflow and Prefect as `infra/services` sets them up: started once for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.infra.database import Database, postgresql
from tests.infra.machine import SERVICES, Machine, await_health, installed

PASSWORD = "planted-5ecret-of-the-database"  # noqa: S105 - of a database that lives for the tests

WEBHOOK = "planted-5ecret-path-of-the-webhook"


@dataclass(frozen=True, slots=True)
class Services:
    """The machine, and the database behind its servers."""

    machine: Machine
    database: Database


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """MLflow and Prefect on PostgreSQL, with log-in, and a user of MLflow for the worker."""
    with installed() as machine, postgresql(machine, PASSWORD) as database:
        settings = machine.etc / "causeway.env"
        settings.write_text(settings.read_text().replace("/run/postgresql", str(database.socket)))
        for name in ("mlflow", "prefect"):  # a database elsewhere asks for a password
            with (machine.etc / f"{name}.env").open("a") as file:
                file.write(f"PGPASSWORD={PASSWORD}\n")
        hook = machine.etc / "worker.env"  # nobody answers there: alerts wait
        told = f"CAUSEWAY_WEBHOOK_URL=http://127.0.0.1:9/{WEBHOOK}"
        hook.write_text(hook.read_text().replace("CAUSEWAY_WEBHOOK_URL=", told))
        mlflow, prefect = machine.start("mlflow"), machine.start("prefect")
        await_health(machine, prefect, f"{machine.prefect}/health")
        await_health(machine, mlflow, f"{machine.mlflow}/health")
        made = machine.run(
            sys.executable,
            str(SERVICES / "mlflow_user.py"),
            machine.mlflow,
            "worker",
            **machine.settings("mlflow"),
        )
        assert made.returncode == 0, made.stderr
        yield Services(machine, database)
        machine.stop()
