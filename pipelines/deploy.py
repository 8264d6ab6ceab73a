"""Prefect deployments from the studies' schedules: pool, queues and limits that exist and hold.

A study's schedule runs one at a time: a run that falls due while the one before is at work, or a
late one after an outage, is cancelled as it starts. Nothing is lost by that, since each run takes
all windows that are due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.load import LoadedStudy, load_study
from conf.profile import Profile, prefect_server
from estimators.errors import PlatformError, RetryableError, UsageError
from pipelines.dead_runs import watch
from pipelines.output import Answer
from pipelines.run import settle_prefect

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.deployments.runner import RunnerDeployment

SCHEMA = "causeway.deploy/1"
_TAG = "causeway"


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment as it is on the server."""

    name: str
    study: str
    flow: str
    cron: str | None
    timezone: str | None
    queue: str


def deploy(studies: Sequence[str], profile: Profile, name: str | None) -> Answer:
    """Create or update the deployments of studies; a study without a schedule gets only a form.

    Parameters
    ----------
    name
        The profile as the user named it: what the deployed flows are given.

    Raises
    ------
    UsageError
        No server is named (``PREFECT_API_URL``), or no study.
    """
    if not prefect_server():
        raise UsageError(
            "no Prefect server is named",
            code="no_server",
            remedy="set PREFECT_API_URL, such as http://127.0.0.1:4200/api; `run` and `backfill` "
            "from cron or Airflow need none",
        )
    loaded = [load_study(each) for each in studies]
    if not loaded:
        raise UsageError("no study", remedy="name the studies to deploy")
    settle_prefect(profile)
    deployed = asyncio.run(_deploy(loaded, profile, name))
    return Answer(as_object(deployed, profile), text(deployed, profile))


async def _deploy(
    studies: Sequence[LoadedStudy], profile: Profile, name: str | None
) -> list[Deployed]:
    from httpx import HTTPError, HTTPStatusError, codes
    from prefect.client.orchestration import get_client

    try:
        async with get_client() as client:
            await _pool(client, profile)
            await watch(client, profile.prefect.silent_after)
        found = []
        for loaded in studies:
            for deployment, about in await _deployments(loaded, profile, name):
                await deployment.aapply()
                found.append(about)
    except HTTPError as error:
        if isinstance(error, HTTPStatusError) and error.response.status_code == codes.UNAUTHORIZED:
            raise PlatformError(
                "the Prefect server asks for another name and password",
                code="prefect_refused",
                remedy="set PREFECT_API_AUTH_STRING to name:password, as its server has it",
            ) from error
        raise RetryableError(
            f"the Prefect server does not answer: {error}",
            code="prefect_unreachable",
            remedy="start it, then deploy again: what is there already is updated",
        ) from error
    return found


async def _pool(client: PrefectClient, profile: Profile) -> None:
    """The work pool and its queues, with limits; those that exist get the profile's limits."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    wanted = profile.prefect
    try:
        await client.read_work_pool(wanted.work_pool)
        update = WorkPoolUpdate(concurrency_limit=wanted.running)
        await client.update_work_pool(wanted.work_pool, update)
    except ObjectNotFound:
        await client.create_work_pool(
            WorkPoolCreate(name=wanted.work_pool, type="process", concurrency_limit=wanted.running)
        )
    queues = {each.name: each for each in await client.read_work_queues(wanted.work_pool)}
    for priority, queue in enumerate((wanted.queue, wanted.backfill_queue), start=1):
        known = queues.get(queue)
        if known is None:
            await client.create_work_queue(
                queue,
                concurrency_limit=wanted.running,
                priority=priority,
                work_pool_name=wanted.work_pool,
            )
        else:
            limit = wanted.running
            await client.update_work_queue(known.id, concurrency_limit=limit, priority=priority)


async def _deployments(
    loaded: LoadedStudy, profile: Profile, name: str | None
) -> list[tuple[RunnerDeployment, Deployed]]:
    """The schedule of a study, and the form of its backfills."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from pipelines.backfill_flow import backfill
    from pipelines.scheduled import scheduled_study

    study, place = loaded.study, profile.prefect
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    given: dict[str, Any] = {
        "parameters": {"study": str(loaded.path.resolve()), "profile": name},
        "description": study.question or None,
        "tags": [_TAG, study.study],
        "work_pool_name": place.work_pool,
        "concurrency_limit": one,
        "job_variables": {"working_dir": str(Path.cwd())},
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    form = await backfill.ato_deployment(
        f"{study.study} backfill", work_queue_name=place.backfill_queue, **given
    )
    found = [(form, _about(form, loaded, None))]
    if study.schedule is not None:
        cron = Cron(study.schedule.cron, timezone=study.schedule.timezone)
        due = await scheduled_study.ato_deployment(
            study.study, work_queue_name=place.queue, schedule=cron, **given
        )
        found.insert(0, (due, _about(due, loaded, cron)))
    return found


def _about(deployment: RunnerDeployment, loaded: LoadedStudy, cron: Any) -> Deployed:
    return Deployed(
        f"{deployment.flow_name}/{deployment.name}",
        loaded.study.study,
        str(deployment.flow_name),
        cron.cron if cron else None,
        cron.timezone if cron else None,
        str(deployment.work_queue_name),
    )


def as_object(deployed: Sequence[Deployed], profile: Profile) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "work_pool": profile.prefect.work_pool,
        "running": profile.prefect.running,
        "deployments": [
            {
                "name": each.name,
                "study": each.study,
                "flow": each.flow,
                "cron": each.cron,
                "timezone": each.timezone,
                "queue": each.queue,
            }
            for each in deployed
        ],
        "error": None,
    }


def text(deployed: Sequence[Deployed], profile: Profile) -> str:
    """What is deployed, and what starts it."""
    pool = profile.prefect.work_pool
    lines = [
        f"{each.name:<40} {f'{each.cron} {each.timezone}' if each.cron else 'on request'}"
        for each in deployed
    ]
    lines += [f"a worker runs them: prefect worker start --pool {pool}", ""]
    return "\n".join(lines)
