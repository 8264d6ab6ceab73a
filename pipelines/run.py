"""Running a study from the command line: the record answers if it can, the flow if it must."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from conf.keys import features_key, run_key
from conf.load import LoadedStudy, load_study
from conf.profile import Profile, load_profile, prefect_server, settle
from conf.windows import parse_span
from pipelines.execution import OPEN, Execution, findings
from pipelines.faults import translate
from pipelines.output import interrupted

if TYPE_CHECKING:
    from jobs.ledger import Progress, Stage
    from jobs.resolve import Resolved

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # A first start on a busy machine migrates its database for longer than the default of 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_SERVER_UI_ENABLED": "false",
    # The flow logs to Prefect; the terminal gets our own progress and one error, not both.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
}
"""What Prefect reads while it is imported; a user's own variables win."""


def run_study(
    study: str,
    window: str | None,
    *,
    profile: str | None = None,
    recompute: bool = False,
    strict: bool = False,
    progress: Progress,
) -> Execution:
    """Run one study on one window; whatever happens is in the execution, not raised.

    Where all of it is recorded and no Prefect server watches, the answer comes straight from the
    record: no Spark, no Ray, and no temporary Prefect server, whose start alone takes 6 to 10
    seconds and which nobody could look at. With ``PREFECT_API_URL`` the flow always runs, so that
    the server's timeline shows every request.
    """
    execution = Execution(Path(study).stem)
    place = None
    try:
        place = load_profile(profile)
        loaded = load_study(study)
        execution.study = loaded.study.study
        execution.span = parse_span(window, loaded.study.window)
        asked = recompute or bool(prefect_server())
        if asked or not _from_record(execution, loaded, place, strict=strict, progress=progress):
            _through_prefect(
                execution,
                place,
                study=study,
                window=window,
                profile=profile,
                recompute=recompute,
                strict=strict,
            )
    except KeyboardInterrupt:
        execution.fail(interrupted())
    except Exception as raised:
        execution.fail(translate(raised, place.home if place else None))
    return execution


def _from_record(
    execution: Execution, loaded: LoadedStudy, place: Profile, *, strict: bool, progress: Progress
) -> bool:
    """Answer from the record, where every stage is in it.

    Registering again is a look into MLflow, and repairs it where it lags behind the record.
    """
    from jobs import register
    from jobs.resolve import resolve

    assert execution.span is not None  # noqa: S101 - set by the caller
    resolved = resolve(loaded, execution.span, place)
    stages = _recorded(resolved, place)
    if stages is None:
        return False
    execution.resolved(resolved)
    for stage in stages:
        execution.committed(stage)
    execution.registered(register.run(resolved, stages[-1], place, progress))
    execution.finish(findings(place, loaded.study, stages[-1].key), strict=strict)
    return True


def _recorded(resolved: Resolved, place: Profile) -> list[Stage] | None:
    """The committed features, crossfit and estimate stages; None where one is missing."""
    from jobs import ledger
    from jobs.crossfit_key import crossfit_key_of

    study, root = resolved.loaded.study, place.record_root
    pins = {name: (pin.table_id, pin.version) for name, pin in resolved.pins.items()}
    features = ledger.find(root, "features", features_key(study, resolved.span, pins))
    if features is None:
        return None
    fitted = crossfit_key_of(resolved, features, place)
    crossfit = ledger.find(root, "crossfit", fitted)
    if crossfit is None:
        return None
    estimate = ledger.find(root, "estimate", run_key(study, resolved.span, crossfit.key))
    return None if estimate is None else [features, crossfit, estimate]


@contextmanager
def server_meanwhile(place: Profile) -> Iterator[None]:
    """Start the temporary Prefect server beside other work: it needs some 15 s, mostly waiting.

    A server that does not start is reported by the run that needs it.
    """
    if prefect_server():
        yield
        return
    settle_prefect(place)

    def start() -> None:
        from prefect.server.api.server import SubprocessASGIServer

        with suppress(Exception):
            SubprocessASGIServer().start()

    starting = Thread(target=start, name="prefect-server", daemon=True)
    starting.start()
    try:
        yield
    finally:
        starting.join()


def settle_prefect(place: Profile) -> None:
    """Say what Prefect would otherwise decide by itself, before it is imported."""
    own = place.home / "prefect"
    own.mkdir(parents=True, exist_ok=True)  # Prefect would not make the folders above it
    settle(SETTINGS | {"PREFECT_HOME": str(own)})


def _through_prefect(execution: Execution, place: Profile, **parameters: Any) -> None:
    settle_prefect(place)
    from prefect.exceptions import TerminationSignal

    from pipelines.estimate import estimate_study

    async def flow() -> None:
        await estimate_study(**parameters, return_state=True)

    token = OPEN.set(execution)
    try:
        asyncio.run(flow())
    except (TerminationSignal, asyncio.CancelledError) as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        OPEN.reset(token)
