"""A machine that goes down while a study runs: the run's slot and place do not stay taken; and what
Prefect keeps of runs goes after its time.

Worker, run and server are killed; the server comes back with the same files and database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.infra.conftest import Services
from tests.infra.database import Database
from tests.infra.machine import PROGRAMS, Machine, await_health, family, kill
from tests.jobs import prebuilt

pytestmark = [pytest.mark.slow, pytest.mark.engines, pytest.mark.timeout(900)]

STUDY = prebuilt.STUDY.replace("study: orders", "study: dying")
SCHEDULE = 'schedule: {cron: "0 3 2 * *", timezone: America/New_York}\n'
FLOW = "scheduled_study/dying"
SILENT_AFTER = 240
DATABASE = "causeway_prefect"
DOOMED = """
CREATE TABLE doomed_run AS
WITH RECURSIVE tree AS (
    SELECT flow_run.id FROM flow_run JOIN deployment ON deployment.id = flow_run.deployment_id
    WHERE deployment.name = 'dying' AND flow_run.state_type <> 'SCHEDULED'
    UNION
    SELECT flow_run.id FROM tree JOIN task_run ON task_run.flow_run_id = tree.id
    JOIN flow_run ON flow_run.parent_task_run_id = task_run.id
) SELECT id FROM tree
"""
SHORTEST_LEASE = 60  # Prefect's API takes no shorter one; a run renews for 300 s


@pytest.fixture
def prefect(services: Services) -> Iterator[httpx.Client]:
    """The server's API, as the worker's user."""
    user, _, password = services.machine.settings("worker")["PREFECT_API_AUTH_STRING"].partition(
        ":"
    )
    base = services.machine.prefect
    with httpx.Client(base_url=base, auth=(user, password), timeout=60) as client:
        yield client


def test_a_run_that_died_with_its_machine_holds_neither_slot_nor_place(
    services: Services, prefect: httpx.Client
) -> None:
    machine = services.machine
    deploy(machine)
    dead = asked(machine, prefect)
    worker = machine.start("worker", "--run-once")
    until(lambda: state(prefect, dead)["type"] == "RUNNING", 240)
    lease = state(prefect, dead)["state_details"]["deployment_concurrency_lease_id"]
    assert len(family(worker.pid)) > 1, "the worker has a run"
    kill(worker)
    kill(machine.running["prefect"])
    soon = {"PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "5"}  # an hour by default
    await_health(machine, machine.start("prefect", **soon), f"{machine.prefect}/health")

    shorter = prefect.post(
        f"/v2/concurrency_limits/leases/{lease}/renew", json={"lease_duration": SHORTEST_LEASE}
    )
    assert shorter.status_code == 204, "the lease outlived the server"
    assert slots(prefect) == 1
    until(lambda: slots(prefect) == 0, SHORTEST_LEASE + 90)
    assert state(prefect, dead)["type"] == "RUNNING", "only its lease has ended"

    second = asked(machine, prefect)
    assert machine.start("worker", "--run-once").wait(300) == 0
    assert state(prefect, second)["name"] == "NotMature", "it ran: the slot was free"

    until(lambda: state(prefect, dead)["type"] == "CRASHED", SILENT_AFTER + 90)
    assert state(prefect, dead)["message"] == f"no sign of life for {SILENT_AFTER} seconds"
    until(lambda: running(prefect) == 0, 60)
    assert slots(prefect) == 0, "taken off once more, and not below none"
    old_runs_go(services.database)


def deploy(machine: Machine) -> None:
    """Deploy a study with a window that is due, in a pool with places for two runs."""
    home = machine.home / "dying"
    place = prebuilt.place(home)
    prebuilt.write_lake(home)
    study = prebuilt.write_study(machine.state / "dying", STUDY + SCHEDULE)
    prebuilt.prebuild(study, ("2024-03",), place)
    prebuilt.in_ledger(place.record_root, prebuilt.loaded(study).study, "2024-02")
    profile = machine.etc / "dying.yaml"
    usual = (machine.etc / "profile.yaml").read_text()
    changed = usual.replace("running: 1", f"running: 2, silent_after: {SILENT_AFTER}")
    profile.write_text(f"{changed}home: {home}\n")
    machine.give(home)
    words = ("deploy", str(study), "--profile", str(profile), "--json")
    done = machine.run(str(PROGRAMS / "causeway"), *words)
    assert done.returncode == 0, done.stderr


def asked(machine: Machine, prefect: httpx.Client) -> str:
    """Ask for a run of the study now."""
    found = prefect.get(f"/deployments/name/{FLOW}")
    found.raise_for_status()
    made = prefect.post(f"/deployments/{found.json()['id']}/create_flow_run", json={})
    made.raise_for_status()
    return str(made.json()["id"])


def state(prefect: httpx.Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = prefect.get(f"/flow_runs/{run}").json()["state"]
    return found


def slots(prefect: httpx.Client) -> int:
    """Slots of the study's schedule that are taken."""
    found = prefect.get(f"/deployments/name/{FLOW}").json()["global_concurrency_limit"]
    return int(found["active_slots"])


def running(prefect: httpx.Client) -> int:
    wanted = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}}}
    return int(prefect.post("/flow_runs/count", json=wanted).json())


def old_runs_go(database: Database) -> None:
    """Runs of 91 days ago go from Prefect's database, with their sub-flows, logs and artifacts."""

    def count(table: str, column: str) -> int:
        joined = f"FROM {table} JOIN doomed_run ON doomed_run.id = {table}.{column}"
        return int(database.ask(DATABASE, f"SELECT count(*) {joined}"))

    database.ask(DATABASE, DOOMED)
    counted = (("flow_run", "id"), ("log", "flow_run_id"), ("artifact", "flow_run_id"))
    assert count("flow_run", "id") > 4, "two runs with their sub-flows"
    assert all(count(*each) for each in counted)
    kept = int(database.ask(DATABASE, "SELECT count(*) FROM flow_run")) - count("flow_run", "id")
    database.ask(
        DATABASE,
        "UPDATE flow_run SET end_time = now() - interval '91 days'"
        " WHERE id IN (SELECT id FROM doomed_run)",
    )
    until(lambda: not any(count(*each) for each in counted), 120)
    assert int(database.ask(DATABASE, "SELECT count(*) FROM flow_run")) == kept


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.2)
