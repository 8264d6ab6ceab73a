"""A study on many windows: what the record holds is skipped, a window that fails stops no other."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

from conf.profile import Profile, load_profile, prefect_server
from jobs.ledger import Progress
from pipelines.backfill_plan import prepare
from pipelines.backfill_report import OPEN, Report, Request
from pipelines.faults import translate
from pipelines.output import interrupted
from pipelines.run import settle_prefect


def backfill(request: Request, progress: Progress) -> Report:
    """Run a backfill from the command line; whatever happens is in the report, not raised.

    With ``PREFECT_API_URL`` a flow shows it, with a sub-flow a window. Without, the same code runs
    without Prefect: a temporary server would cost more than a small window, and nobody could look.
    """
    report = Report(request, Path(request.study).stem, progress=progress)
    place = None
    try:
        place = load_profile(request.profile)
        if prefect_server():
            _through_prefect(report, place)
        else:
            asyncio.run(_alone(report, place))
    except (KeyboardInterrupt, asyncio.CancelledError):
        report.error = interrupted()
    except Exception as raised:
        report.error = translate(raised, place.home if place else None)
    report.judge()
    return report


async def _alone(report: Report, place: Profile) -> None:
    from pipelines.stagewise import plain
    from pipelines.windows import compute_all

    loaded, todo = prepare(report, place)
    await compute_all(report, loaded, place, todo, stage=plain, wrap=lambda _planned, body: body())


def _through_prefect(report: Report, place: Profile) -> None:
    settle_prefect(place)
    from prefect.exceptions import TerminationSignal

    from pipelines.backfill_flow import backfill as flow

    async def run() -> None:
        await flow(**asdict(report.request), return_state=True)

    token = OPEN.set(report)
    try:
        asyncio.run(run())
    except TerminationSignal as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        OPEN.reset(token)
