"""Schedules on a real Prefect server: what is created, and what a real worker makes of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from conf.load import load_study
from conf.windows import split
from jobs.lake import read_record
from jobs.windows import read_windows
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway, causeway_in, clean_environment

SCHEDULE = 'schedule: {cron: "0 3 2 * *", timezone: America/New_York}\n'
NOW = datetime(2024, 4, 2, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ((), ["2024-03"]),
        (("2024-03",), []),
        (("2024-02",), ["2024-03"]),
        (("2023-12",), ["2024-01", "2024-02", "2024-03"]),
        (("2024-01", "2024-03"), ["2024-02", "2024-03"]),
        (("2024-05",), []),
    ],
)
def test_due_is_what_is_over_and_not_recorded(
    tmp_path: Path, recorded: tuple[str, ...], expected: list[str]
) -> None:
    from pipelines.scheduled import due

    study = load_study(str(prebuilt.write_study(tmp_path))).study
    root = f"{tmp_path}/record"
    for label in recorded:
        prebuilt.in_ledger(root, study, label)
    found = due(study, read_windows(root, study.study), NOW)
    assert [each.label for each in found] == expected


def test_of_the_windows_without_data_only_the_first_is_asked_for(tmp_path: Path) -> None:
    from jobs.resolve import pin_sources
    from pipelines.scheduled import to_first_immature

    prebuilt.write_lake(tmp_path)
    loaded = load_study(str(prebuilt.write_study(tmp_path)))
    spans = split("2024-02", "2024-09", loaded.study.window)
    found = to_first_immature(loaded.study, spans, pin_sources(loaded, prebuilt.place(tmp_path)))
    assert [each.label for each in found] == ["2024-02", "2024-03", "2024-04"]


def test_without_a_server_it_says_how_to_name_one(here: Causeway, tmp_path: Path) -> None:
    study = prebuilt.write_study(tmp_path, prebuilt.STUDY + SCHEDULE)
    ran = here("deploy", str(study), "--json")
    assert ran.code == 2
    assert ran.object["error"]["code"] == "no_server"
    assert "PREFECT_API_URL" in ran.object["error"]["remedy"]
    assert "cron" in ran.object["error"]["remedy"]


def test_an_invalid_study_is_found_before_anything_is_created(
    here: Causeway, tmp_path: Path
) -> None:
    bad = prebuilt.write_study(tmp_path, prebuilt.STUDY + SCHEDULE.replace("0 3 2", "0 25 2"))
    ran = here("deploy", str(bad), PREFECT_API_URL="http://127.0.0.1:9/api")
    assert ran.code == 3
    assert "hour" in ran.err


@pytest.mark.engines
@pytest.mark.slow
def test_a_real_server_has_the_schedule_and_a_real_worker_runs_what_is_due(
    tmp_path: Path, prefect_server: str
) -> None:
    home = tmp_path / "home"
    place = prebuilt.place(home)
    prebuilt.write_lake(home)
    study = prebuilt.write_study(tmp_path, prebuilt.STUDY + SCHEDULE)
    prebuilt.prebuild(study, prebuilt.MONTHS, place)
    prebuilt.in_ledger(place.record_root, load_study(str(study)).study, "2024-01")
    causeway = causeway_in(tmp_path, home, PREFECT_API_URL=prefect_server)
    first = causeway("deploy", str(study), "--json")
    assert first.code == 0, first.err
    assert causeway("deploy", str(study), "--json").object == first.object, "twice is once"
    names = [each["name"] for each in first.object["deployments"]]
    assert names == ["scheduled_study/orders", "backfill/orders backfill"]
    pool, queues, scheduled, form = asyncio.run(_created())
    assert (pool.type, pool.concurrency_limit) == ("process", 1)
    limits = {each.name: (each.concurrency_limit, each.priority) for each in queues}
    assert limits["scheduled"] == (1, 1)
    assert limits["backfills"] == (1, 2)
    (schedule,) = scheduled.schedules
    assert schedule.schedule.cron == "0 3 2 * *"
    assert schedule.schedule.timezone == "America/New_York"
    assert scheduled.global_concurrency_limit.limit == 1
    assert scheduled.concurrency_options.collision_strategy.value == "CANCEL_NEW"
    properties = form.parameter_openapi_schema["properties"]
    assert properties["pin"]["enum"] == ["now", "as-of-window"]
    assert "such as 2013-01" in properties["first"]["description"]

    ran = asyncio.run(_run(scheduled.id, home, prefect_server, tmp_path))
    windows = {row["window_start"].month for row in read_record(place.record_root, "effects")
               .to_pylist()}  # fmt: skip
    assert windows == {2, 3}, "what was over and not recorded"
    assert ran.state.name == "NotMature", "April has no data yet, and it says so"


async def _created() -> tuple[Any, ...]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return (
            await client.read_work_pool("causeway"),
            await client.read_work_queues("causeway"),
            await client.read_deployment_by_name("scheduled_study/orders"),
            await client.read_deployment_by_name("backfill/orders backfill"),
        )


async def _run(deployment: Any, home: Path, server: str, folder: Path) -> Any:
    """Ask for a run now, and let a worker do what waits."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        asked = await client.create_flow_run_from_deployment(deployment)
        worker = await asyncio.create_subprocess_exec(
            str(Path(sys.prefix) / "bin" / "prefect"), "worker", "start", "--pool", "causeway",
            "--run-once", "--install-policy", "never",
            env=clean_environment(home) | {"PREFECT_API_URL": server, "DO_NOT_TRACK": "1"},
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        await asyncio.wait_for(worker.wait(), 280)
        return await client.read_flow_run(asked.id)
