"""Runs that died without a word: told from those at work by their heartbeats, and ended.

A worker that lives notices when a run of its dies. Where both die, as when a machine goes down, the
run stays *Running* on the server and holds a place in its work pool and queue for ever; only the
lease on its deployment's slot ends by itself. An automation on the server marks such runs as
crashed, which frees all three.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.automations import AutomationCore

NAME = "causeway: runs that died"
_FLOWS = ("scheduled_study", "backfill", "backfill_window", "estimate_study")
_ALIVE = ("Pending", "Running", "heartbeat")


def crash_silent_runs(silent_after: int) -> AutomationCore:
    """Mark a run of our flows as crashed that was at work and has not been heard of since.

    Any event of a run counts as a sign of life, so that one that ended, under whatever name its
    state has, is left alone.

    Parameters
    ----------
    silent_after
        Seconds; more than two heartbeats (180 s apart unless PREFECT_FLOWS_HEARTBEAT_FREQUENCY
        says otherwise).
    """
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    ours = {"prefect.resource.role": "flow", "prefect.resource.name": list(_FLOWS)}
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification(ours),
        after={f"prefect.flow-run.{each}" for each in _ALIVE},
        expect={"prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=silent_after),
    )
    action = ChangeFlowRunState(
        state=StateType.CRASHED, message=f"no sign of life for {silent_after} seconds"
    )
    return AutomationCore(
        name=NAME,
        description="Made by `causeway deploy`; a run that died holds no place in its pool.",
        trigger=trigger,
        actions=[action],
    )


async def watch(client: PrefectClient, silent_after: int) -> None:
    """Create the automation on the server, or bring it up to date."""
    wanted = crash_silent_runs(silent_after)
    known = await client.read_automations_by_name(NAME)
    if known:
        await client.update_automation(known[0].id, wanted)
    else:
        await client.create_automation(wanted)
