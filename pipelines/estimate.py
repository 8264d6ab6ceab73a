"""The flow: resolve, features, crossfit, estimate, register; a task a stage.

Prefect reads its settings while it is imported: `pipelines.run` settles them before it imports
this module. A Prefect worker imports it directly, with settings of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import Task

from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from estimators.errors import CausewayError, NotReproducibleError, Where
from jobs import crossfit, estimate, features, register, resolve
from jobs.ledger import Stage
from jobs.resolve import Resolved
from pipelines.artifacts import publish
from pipelines.execution import OPEN, Execution, findings
from pipelines.faults import translate
from pipelines.in_thread import in_thread
from pipelines.locks import only_one
from pipelines.progress import CURRENT
from pipelines.stagewise import RETRY_SECONDS


async def _may_help(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only what says so itself is tried again."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, CausewayError) and error.retryable


def stage(function: Callable[..., Any], name: str) -> Task[..., Any]:
    """Make a stage a task: its own thread, two more tries where they can help, nothing cached."""

    async def run(*args: Any, **options: Any) -> Any:
        return await in_thread(function, *args, **options)

    return Task(
        run,
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_SECONDS),
        retry_delay_seconds=list(RETRY_SECONDS),
        retry_condition_fn=_may_help,
    )


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{Path(given['study']).stem} {given.get('window') or 'all'}"


@flow(
    name="estimate_study",
    flow_run_name=_run_name,
    persist_result=False,
    description="One study, one window: from pinned Delta tables to effects in the record.",
)
async def estimate_study(
    study: str,
    window: str | None = None,
    profile: str | None = None,
    recompute: bool = False,
    strict: bool = False,
) -> State[dict[str, Any]]:
    """Estimate a study on a window, and record it.

    Args:
        study: Name of a study, or the path of its file.
        window: 2013, 2013-03 or a range such as 2013-01..2013-06; nothing for studies without time.
        profile: Name of a profile, or the path of its file; nothing for the environment's.
        recompute: Compute again what is recorded, compare, write nothing.
        strict: A failed gate fails the flow.
    """
    execution = OPEN.get() or Execution(Path(study).stem)
    place = None
    try:
        place = load_profile(profile)
        await _execute(execution, place, study, window, recompute=recompute)
        assert execution.run_key is not None  # noqa: S101 - the stages have run
        loaded = load_study(study)
        execution.finish(findings(place, loaded.study, execution.run_key), strict=strict)
    except Exception as raised:
        execution.fail(translate(raised, place.home if place else None))
        get_run_logger().error("%s", execution.error)
    await publish(execution)
    return state_of(execution)


def state_of(execution: Execution) -> State[dict[str, Any]]:
    """A named state with a message; the run object is its data."""
    data = execution.as_dict()
    if execution.status == "not_mature":
        return Cancelled(name="NotMature", message=execution.message, data=data)
    if execution.error is not None:
        name = "GatesFailed" if execution.found else "Failed"
        return Failed(name=name, message=execution.message, data=data)
    name = "AlreadyRecorded" if execution.status == "already_recorded" else "Recorded"
    return Completed(name=name, message=execution.message, data=data)


async def _execute(
    execution: Execution, place: Profile, study: str, window: str | None, *, recompute: bool
) -> None:
    progress = CURRENT.get()
    loaded = load_study(study)
    span = parse_span(window, loaded.study.window)
    execution.study, execution.span = loaded.study.study, span

    def waiting() -> None:
        progress("waiting", 0, 0, f"another process computes {execution.study} {span.label}")

    async with only_one(place.home, f"{execution.study}.{span.label}", waiting):
        resolved: Resolved = await stage(resolve.resolve, "resolve")(loaded, span, place)
        execution.resolved(resolved)
        built = await stage(features.build, "features")(resolved, place, progress)
        execution.committed(built)
        await _estimated(execution, resolved, built, place, recompute=recompute)


async def _estimated(
    execution: Execution, resolved: Resolved, built: Stage, place: Profile, *, recompute: bool
) -> None:
    progress = CURRENT.get()
    twice = recompute
    fitted = await _done(crossfit.run, "crossfit", resolved, built, place, twice=twice)
    execution.committed(fitted)
    found = await _done(estimate.run, "estimate", resolved, fitted, place, twice=twice)
    execution.committed(found)
    execution.registered(await stage(register.run, "register")(resolved, found, place, progress))


async def _done(
    function: Callable[..., Stage],
    name: str,
    resolved: Resolved,
    before: Stage,
    place: Profile,
    *,
    twice: bool,
) -> Stage:
    """Run a stage; where it was recorded, `twice` computes it again and compares the digests."""
    progress = CURRENT.get()
    first: Stage = await stage(function, name)(resolved, before, place, progress)
    if not twice or first.status != "reused":
        return first
    again: Stage = await stage(function, f"{name} again")(
        resolved, before, place, progress, recompute=True
    )
    if again.digest != first.digest:
        raise NotReproducibleError(
            f"{name}: the record has digest {first.digest}, now it is {again.digest}",
            where=Where(table=first.table, version=first.version, window=resolved.span.label),
            remedy="was the record written on another platform or with other library versions?"
            " The columns `platform` and `numerics` of `effects` say so",
        )
    return replace(first, status="computed", seconds=again.seconds)
