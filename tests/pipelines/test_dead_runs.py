"""Runs that died without a word: whom the automation looks at, and what a real server does."""

from __future__ import annotations

import pytest

from pipelines import backfill_flow, dead_runs, estimate, scheduled


def test_every_flow_of_ours_is_watched() -> None:
    from prefect import Flow

    modules = (backfill_flow, estimate, scheduled)
    flows = {each.name for module in modules for each in vars(module).values()
             if isinstance(each, Flow)}  # fmt: skip
    assert flows == set(dead_runs._FLOWS)


@pytest.mark.parametrize("name", ["Completed", "Recorded", "NotMature", "NothingDue", "Crashed"])
def test_a_run_that_ended_under_any_name_is_left_alone(name: str) -> None:
    from prefect.events.schemas.automations import EventTrigger

    trigger = dead_runs.crash_silent_runs(600).trigger
    assert isinstance(trigger, EventTrigger)
    assert f"prefect.flow-run.{name}" not in trigger.after
    assert trigger.expect == {"prefect.flow-run.*"}
