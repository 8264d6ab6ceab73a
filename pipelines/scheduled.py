"""The flow of a schedule: the windows of a study that are due and not recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed

from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.study import Study
from conf.windows import Span, every, last_before, split, zone
from estimators.errors import CausewayError, NotMatureError
from jobs.lake import Pin
from jobs.maturity import check_recorded
from jobs.resolve import pin_sources
from jobs.windows import Windows, read_windows
from pipelines.alerting import tell
from pipelines.backfill_flow import backfill
from pipelines.estimate import estimate_study
from pipelines.in_thread import in_thread


def due(study: Study, windows: Windows, now: datetime) -> list[Span]:
    """Windows from the first unrecorded one up to the last that is over.

    Where nothing is recorded this is the last window alone: older ones are an analyst's backfill.
    A window that is over but not mature is due too; it says so, and stays due.
    """
    last = last_before(now, study.window)
    if not windows.runs:
        return [last]
    earliest = min(run.start for run in windows.runs)
    if earliest >= last.end:
        return []
    first_day = earliest.astimezone(zone(study.window.timezone)).date().isoformat()
    grid = split(first_day, _end_of(last), study.window)
    missing = [number for number, each in enumerate(grid) if windows.current(each) is None]
    return grid[missing[0] :] if missing else []


def to_first_immature(study: Study, spans: Sequence[Span], pins: dict[str, Pin]) -> list[Span]:
    """Windows up to the first that is not mature, which says so; those after it cannot be."""
    found = []
    for span in spans:
        found.append(span)
        try:
            check_recorded(study, span, pins)
        except NotMatureError:
            break
    return found


def _end_of(span: Span) -> str:
    """The last period of a label: a range's second end."""
    return span.label.rpartition("..")[2]


def _run_name() -> str:
    return f"{Path(runtime.flow_run.parameters['study']).stem} scheduled"


async def _tell(place: Profile, study: Study) -> None:
    """Alerts; a channel that is down or misnamed does not fail what is recorded."""
    try:
        told = await in_thread(tell, place, study)
    except CausewayError as error:
        get_run_logger().error("no alerts: %s", error)
        return
    if told.problem:
        get_run_logger().warning("%d alerts wait: %s", told.waiting, told.problem)


@flow(
    name="scheduled_study",
    flow_run_name=_run_name,
    persist_result=False,
    description="The windows of a study that are due: those that are over and not recorded.",
)
async def scheduled_study(study: str, profile: str | None = None) -> State[Any]:
    """Estimate what is due of a study.

    Args:
        study: Name of a study, or the path of its file.
        profile: Name of a profile, or the path of its file; nothing for the environment's.
    """
    loaded, place = load_study(study), load_profile(profile)
    if every(loaded.study.window.every) is None:  # new versions of the sources are a new run
        state = await estimate_study(study, profile=profile, return_state=True)
        await _tell(place, loaded.study)
        return _ended_as(state)
    windows = read_windows(place.record_root, loaded.study.study)
    spans = due(loaded.study, windows, datetime.now(UTC))
    spans = to_first_immature(loaded.study, spans, pin_sources(loaded, place))
    if not spans:
        await _tell(place, loaded.study)
        return Completed(name="NothingDue", message="every window that is over is recorded")
    first, last = spans[0].label.partition("..")[0], _end_of(spans[-1])
    get_run_logger().info("due: %s to %s", first, last)
    state = await backfill(study, first, last, profile=profile, return_state=True)
    await _tell(place, loaded.study)
    return _ended_as(state)


def _ended_as(state: State[Any]) -> State[Any]:
    """A state of our own with the sub-flow's name and message: Prefect would count sub-states."""
    return State(type=state.type, name=state.name, message=state.message)
