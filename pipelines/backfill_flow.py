"""The backfill as Prefect shows it: a flow, under it a sub-flow a window, and one table.

As with `pipelines.estimate`, Prefect's settings are settled before this module is imported.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from conf.profile import load_profile
from jobs.pins import PlannedWindow
from pipelines.artifacts import publish
from pipelines.backfill_plan import prepare
from pipelines.backfill_report import OPEN, Report, Request, summary_table
from pipelines.estimate import stage, state_of
from pipelines.execution import Execution
from pipelines.faults import translate
from pipelines.progress import CURRENT
from pipelines.windows import Body, compute_all

_BODY: ContextVar[Body] = ContextVar("window")
"""What the sub-flow runs: it shares engines with the others, so it cannot be its parameters."""


def _run_name() -> str:
    given = runtime.flow_run.parameters
    name = Path(given["study"]).stem
    if given.get("retry_failed"):
        return f"{name} failed windows"
    return f"{name} {given.get('first') or 'all'}..{given.get('last') or ''}".rstrip(".")


@flow(
    name="backfill",
    flow_run_name=_run_name,
    persist_result=False,
    description="One study on many windows; what the record holds is skipped.",
)
async def backfill(
    study: str,
    first: str | None = None,
    last: str | None = None,
    *,
    pin: Literal["now", "as-of-window"] = "now",
    refresh: bool = False,
    retry_failed: bool = False,
    parallel: int = 1,
    profile: str | None = None,
) -> State[dict[str, Any]]:
    """Estimate a study on many windows, and record them.

    Args:
        study: Name of a study, or the path of its file.
        first: First window, such as 2013-01; nothing for studies without time.
        last: Last window, included.
        pin: Newest versions for all windows, or those that were the newest when each matured.
        refresh: Compute recorded windows again on the pins of this backfill.
        retry_failed: Only the windows of the last backfill that failed, on its versions.
        parallel: Windows in a stage at a time.
        profile: Name of a profile, or the path of its file; nothing for the environment's.
    """
    request = Request(study, first, last, pin, refresh, retry_failed, parallel, profile)
    report = OPEN.get() or Report(request, Path(study).stem, progress=CURRENT.get())
    place = None
    try:
        place = load_profile(profile)
        loaded, todo = prepare(report, place)
        await compute_all(report, loaded, place, todo, stage=stage, wrap=_as_subflow)
    except Exception as raised:
        report.error = translate(raised, place.home if place else None)
        get_run_logger().error("%s", report.error)
    report.judge()
    await _publish(report)
    return _state(report)


async def _as_subflow(planned: PlannedWindow, body: Body) -> Execution:
    ended: list[Execution] = []

    async def keep() -> Execution:
        ended.append(await body())
        return ended[0]

    _BODY.set(keep)
    state = await backfill_window(
        window=planned.span.label, versions=dict(planned.versions), return_state=True
    )
    if not ended:
        await state.aresult()  # Prefect did not get as far as the window; this raises why
    return ended[0]


@flow(
    name="backfill_window",
    flow_run_name="{window}",
    persist_result=False,
    description="One window of a backfill.",
)
async def backfill_window(window: str, versions: dict[str, int]) -> State[dict[str, Any]]:
    """Estimate one window of the backfill that this is under.

    Args:
        window: Its label.
        versions: Pinned version of each source.
    """
    execution = await _BODY.get()()
    await publish(execution)
    return state_of(execution)


def _state(report: Report) -> State[dict[str, Any]]:
    data, counts = report.as_dict(), report.summary
    message = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if report.error is None:
        return Completed(name="Recorded", message=message or "nothing to do", data=data)
    if report.error.code == "not_mature":
        return Cancelled(name="NotMature", message=message, data=data)
    name = "PartlyFailed" if report.error.exit_code == 9 else "Failed"  # noqa: PLR2004
    return Failed(name=name, message=message or report.error.message, data=data)


async def _publish(report: Report) -> None:
    await acreate_table_artifact(
        key=f"backfill-{report.study.replace('_', '-').lower()}",
        table=summary_table(report),
        description=f"Backfill of {report.study}",
    )
