"""A study's schedule on the services of `infra/`: PostgreSQL, log-ins, no root, no secret told."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conf.profile import Profile
from estimators.errors import PlatformError
from jobs import register
from jobs.contracts import CHECKS, EFFECTS
from jobs.lake import read_record
from jobs.pages import tracking
from tests.infra.conftest import PASSWORD, WEBHOOK, Services
from tests.infra.machine import PROGRAMS, SERVICES, status
from tests.jobs import prebuilt
from tests.jobs import record_sample as sample

pytestmark = [pytest.mark.slow, pytest.mark.engines, pytest.mark.timeout(600)]

SCHEDULE = 'schedule: {cron: "0 3 2 * *", timezone: America/New_York}\n'
DUE = ("2024-02", "2024-03")


@pytest.fixture(scope="module")
def scheduled(services: Services) -> Services:
    """A study deployed and run by a worker: what is due of it, up to the month without data."""
    machine = services.machine
    place = prebuilt.place(machine.home)
    prebuilt.write_lake(machine.home)
    study = prebuilt.write_study(machine.state, prebuilt.STUDY + SCHEDULE)
    shutil.copytree(machine.home, machine.folder / "twin")
    prebuilt.prebuild(study, DUE, place)
    prebuilt.in_ledger(place.record_root, prebuilt.loaded(study).study, "2024-01")
    machine.give(machine.home)
    deployed = machine.run(str(PROGRAMS / "causeway"), "deploy", str(study), "--json")
    assert deployed.returncode == 0, deployed.stderr
    words = ("deployment", "run", "scheduled_study/orders")
    asked = machine.run(str(PROGRAMS / "prefect"), *words)
    assert asked.returncode == 0, asked.stderr
    worker = machine.start("worker", "--run-once")
    assert worker.wait(400) == 0, (machine.folder / "worker.log").read_text()
    return services


def auth(services: Services) -> tuple[str, str]:
    """Name and password of the worker in MLflow."""
    found = services.machine.settings("worker")
    return found["MLFLOW_TRACKING_USERNAME"], found["MLFLOW_TRACKING_PASSWORD"]


def prefect_auth(services: Services) -> tuple[str, str]:
    user, _, password = services.machine.settings("worker")["PREFECT_API_AUTH_STRING"].partition(
        ":"
    )
    return user, password


def test_without_a_password_no_server_tells_anything(services: Services) -> None:
    machine = services.machine
    paths = ("/", "/version", "/graphql", "/api/2.0/mlflow/experiments/search?max_results=1")
    for path in paths:
        assert status(machine.mlflow + path) == 401, path
        assert status(machine.mlflow + path, "admin", "password1234") == 401, path
    assert status(machine.mlflow + paths[-1], *auth(services)) == 200
    for path in ("/admin/version", "/deployments/name/a/b"):
        assert status(machine.prefect + path) == 401, path
        assert status(machine.prefect + path, "causeway", "guess") == 401, path
    assert status(f"{machine.prefect}/admin/version", *prefect_auth(services)) == 200


def test_causeway_without_a_password_says_which_one_is_missing(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = services.machine
    study = prebuilt.write_study(machine.state / "alone", prebuilt.STUDY + SCHEDULE)
    words = (str(PROGRAMS / "causeway"), "deploy", str(study), "--json")
    for given in ("", "causeway:guess"):
        refused = machine.run(*words, PREFECT_API_AUTH_STRING=given)
        assert refused.returncode == 6, refused.stderr
        assert json.loads(refused.stdout)["error"]["code"] == "prefect_refused"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "worker")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "guess")
    place = Profile(name="shared", home=tmp_path, mlflow_uri=machine.mlflow)
    with pytest.raises(PlatformError) as caught, tracking.store(place):
        pass
    assert caught.value.code == "mlflow_store"
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value.remedy)


def test_what_was_due_is_in_the_record_as_one_machine_alone_computes_it(
    scheduled: Services,
) -> None:
    home = scheduled.machine.home
    effects = read_record(f"{home}/record", "effects")
    assert effects.schema.names == EFFECTS.names
    assert [each.type for each in effects.schema] == [each.type for each in EFFECTS]
    assert read_record(f"{home}/record", "checks").schema.names == CHECKS.names
    assert sorted({row["window_start"].month for row in effects.to_pylist()}) == [2, 3]
    twin = prebuilt.place(scheduled.machine.folder / "twin")
    study = scheduled.machine.state / "orders.yaml"
    for month in DUE:
        prebuilt.record(study, month, twin)
    alone = read_record(twin.record_root, "effects")
    assert rows(effects) == rows(alone)


def rows(effects: Any) -> list[dict[str, Any]]:
    """Effects by run and id, without the time at which they were recorded."""
    found = [
        {name: value for name, value in row.items() if name != "recorded_at"}
        for row in effects.to_pylist()
    ]
    return sorted(found, key=lambda row: (row["run_key"], row["effect_id"]))


def test_mlflow_has_the_runs_in_postgresql_and_serves_their_pages(scheduled: Services) -> None:
    database, machine = scheduled.database, scheduled.machine
    wanted = (
        "SELECT value FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)"
        " WHERE experiments.name = 'orders' AND key = 'run_key' AND status = 'FINISHED'"
    )
    keys = set(database.ask("causeway_mlflow", wanted).split())
    effects = read_record(f"{machine.home}/record", "effects").to_pylist()
    assert keys == {row["run_key"] for row in effects}
    versions = "SELECT count(*) FROM model_versions WHERE name LIKE 'orders.%'"
    assert database.ask("causeway_mlflow", versions) == "4"
    with httpx.Client(base_url=f"{machine.mlflow}/api/2.0/mlflow", auth=auth(scheduled)) as client:
        found = client.get("/experiments/get-by-name", params={"experiment_name": "orders"})
        experiment = found.json()["experiment"]
        assert experiment["artifact_location"].startswith("mlflow-artifacts:/")
        asked = {"experiment_ids": [experiment["experiment_id"]], "max_results": 100}
        runs = client.post("/runs/search", json=asked).json()["runs"]
    parents = [each["info"]["run_id"] for each in runs if tag(each, "kind") == "window"]
    assert len(parents) == 2
    for parent in parents:
        page = f"{machine.mlflow}/get-artifact?path=report.html&run_uuid={parent}"
        assert status(page) == 401
        assert "orders" in httpx.get(page, auth=auth(scheduled), timeout=30).text


def tag(run: dict[str, Any], name: str) -> str:
    return next(each["value"] for each in run["data"]["tags"] if each["key"] == name)


def test_a_store_in_postgresql_without_a_server_keeps_its_artifacts_in_the_home(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services.machine.settings("causeway", "mlflow").items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    recorded = sample.record(home, "2013-03")
    place = recorded.profile.model_copy(
        update={"mlflow_uri": "postgresql+psycopg:///causeway_mlflow"}
    )
    found = register.run(recorded.resolved, recorded.estimate, place)
    again = register.run(recorded.resolved, recorded.estimate, place)
    assert (again.run_id, again.stage.status) == (found.run_id, "reused")
    (report,) = (home / "mlflow" / "artifacts").rglob("report.html")
    assert found.run_id in report.parts
    assert [each.name for each in tmp_path.iterdir()] == ["home"], "nothing beside the home"
    wanted = "SELECT count(*) FROM experiments WHERE name = 'rain_delays'"
    assert services.database.ask("causeway_mlflow", wanted) == "1"


def test_nightly_upkeep_tells_prefect_of_a_schedule_that_was_missed(scheduled: Services) -> None:
    machine = scheduled.machine
    named = {"CAUSEWAY_STUDIES": str(machine.state / "orders.yaml")}
    upkeep = machine.start("maintain", **named, CAUSEWAY_WEBHOOK_URL="")
    assert upkeep.wait(240) == 0, (machine.folder / "maintain.log").read_text()
    wanted = {"filter": {"event": {"name": ["causeway.missed_schedule"]}}, "limit": 50}
    with httpx.Client(base_url=machine.prefect, auth=prefect_auth(scheduled)) as client:
        deadline = time.monotonic() + 60
        while not (found := client.post("/events/filter", json=wanted).json()["events"]):
            assert time.monotonic() < deadline
            time.sleep(1)
    assert {each["resource"]["prefect.resource.id"] for each in found} == {"causeway.study.orders"}


def test_prefect_has_the_run_in_postgresql(scheduled: Services) -> None:
    wanted = (
        "SELECT state_name FROM flow_run JOIN deployment ON deployment.id = deployment_id"
        " WHERE deployment.name = 'orders' AND state_type <> 'SCHEDULED'"
    )
    assert scheduled.database.ask("causeway_prefect", wanted) == "NotMature"


def test_another_user_of_mlflow_reads_and_does_not_write(scheduled: Services) -> None:
    machine, password = scheduled.machine, "a reviewer's own password"
    made = machine.run(
        sys.executable,
        str(SERVICES / "mlflow_user.py"),
        machine.mlflow,
        "ada",
        **machine.settings("mlflow") | {"MLFLOW_TRACKING_PASSWORD": password},
    )
    assert made.returncode == 0, made.stderr
    base = f"{machine.mlflow}/api/2.0/mlflow"
    with httpx.Client(base_url=base, auth=("ada", password), timeout=30) as client:
        found = client.get("/experiments/get-by-name", params={"experiment_name": "orders"})
        assert found.status_code == 200
        made_run = client.post(
            "/runs/create", json={"experiment_id": found.json()["experiment"]["experiment_id"]}
        )
        assert made_run.status_code == 403
        model = "orders.irm.ate.coupon.spend"
        alias = {"name": model, "alias": "champion", "version": "1"}
        assert client.post("/registered-models/alias", json=alias).status_code == 403


def test_nothing_runs_as_root_and_no_command_line_holds_a_secret(services: Services) -> None:
    seen = 0
    for process in services.machine.running.values():
        for each in Path("/proc").iterdir():
            if not each.name.isdigit() or session(each) != process.pid:
                continue
            seen += 1
            uid = next(
                line.split()[1]
                for line in (each / "status").read_text().splitlines()
                if line.startswith("Uid:")
            )
            assert uid != "0"
            words = (each / "cmdline").read_bytes()
            assert not any(secret.encode() in words for secret in secrets(services))
    assert seen >= 2


def session(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rsplit(")", 1)[1].split()[3])
    except OSError:
        return 0


def secrets(services: Services) -> list[str]:
    """Every secret of the machine."""
    found = services.machine.settings("mlflow", "prefect", "worker", "ray")
    given = [value for name, value in found.items() if name != "MLFLOW_TRACKING_USERNAME" and value]
    return [PASSWORD, WEBHOOK, *given, *(each.partition(":")[2] for each in given if ":" in each)]


def test_no_secret_is_in_a_log_an_artifact_or_a_database(scheduled: Services) -> None:
    machine, database = scheduled.machine, scheduled.database
    known = [each.encode() for each in secrets(scheduled)]
    assert len(known) >= 8
    assert all(known)
    files = [path for path in machine.state.rglob("*") if path.is_file()]
    files += machine.folder.glob("*.log")
    assert len(files) > 100
    for path in files:
        content = path.read_bytes()
        assert not any(each in content for each in known), path
    for name in ("causeway_mlflow", "causeway_mlflow_auth", "causeway_prefect"):
        dump = database.run("pg_dump", "-d", name).encode()
        assert len(dump) > 10_000
        assert not any(each in dump for each in known), name
