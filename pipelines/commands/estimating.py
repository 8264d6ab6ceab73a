"""Commands that estimate studies: now, over many windows, on a schedule."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.options import json_option, profile_option, study_argument
from pipelines.output import Answer, answer


@click.command(
    short_help="The whole way, on 336,776 real flights.",
    epilog="\b\nThen look: make ui, or causeway effects rain_delays.",
)
@profile_option
@json_option
def demo(profile: str | None, as_json: bool) -> None:
    """Estimate how rain delays 336,776 flights from New York.

    Writes the demo's lake, runs rain_delays for 2013, 2013-01 and 2013-02 and its over-controlled
    twin for 2013, and says what they teach. A second demo finds everything recorded.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines import demo as demonstration
        from pipelines.progress import reporting

        place = load_profile(profile)
        with reporting() as progress:
            executions = demonstration.demo(place, profile, progress)
        error = executions[-1].error
        text = demonstration.text(place, executions) if error is None else ""
        return Answer(demonstration.as_object(executions, error), text, error)

    answer("causeway.demo/1", as_json, body)


@click.command(
    short_help="Estimate a study on one window and record it.",
    epilog="\b\nExamples:\n  causeway run rain_delays --window 2013-03\n"
    "  causeway run rain_delays --window 2013-01..2013-06 --json\n"
    "  causeway run nsw.yaml                       a study without time has no window",
)
@study_argument
@click.option("--window", help="2013, 2013-03, 2013-03-05 or 2013-01..2013-06 (one window).")
@profile_option
@click.option("--recompute", is_flag=True, help="Compute again, compare digests, write nothing.")
@click.option("--strict", is_flag=True, help="Exit with 8 where a gate fails.")
@json_option
def run(study: str, window: str | None, as_json: bool, **given: Any) -> None:
    """Estimate a study on one window and record it.

    The same key a second time adds nothing. After a crash or Ctrl-C run it again: it goes on
    after the last commit.
    """

    def body() -> Answer:
        from pipelines.progress import reporting
        from pipelines.run import run_study
        from pipelines.tables import run_text

        with reporting() as progress:
            execution = run_study(study, window, progress=progress, **given)
        text = run_text(execution) if execution.found else ""
        return Answer(execution.as_dict(), text, execution.error)

    answer("causeway.run/1", as_json, body)


@click.command(
    short_help="Estimate a study on many windows.",
    epilog="\b\nExamples:\n  causeway backfill rain_delays --from 2013-01 --to 2013-12\n"
    "  causeway backfill rain_delays --from 2013-01 --to 2013-12 --pin as-of-window\n"
    "  causeway backfill rain_delays --retry-failed",
)
@study_argument
@click.option("--from", "first", help="First window, such as 2013-01.")
@click.option("--to", "last", help="Last window, included.")
@click.option(
    "--pin",
    type=click.Choice(["now", "as-of-window"]),
    default="now",
    show_default=True,
    help="Newest versions for all windows, or those that were the newest when each matured.",
)
@click.option("--refresh", is_flag=True, help="Build the features of recorded windows again.")
@click.option("--retry-failed", is_flag=True, help="What failed last, on its versions.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Windows in a stage at a time.",
)
@profile_option
@json_option
def backfill(study: str, as_json: bool, **given: Any) -> None:
    """Estimate a study on every window from --from to --to, and record them.

    Windows that the record holds are skipped, even if the sources have moved on. A window that
    fails stops no other. After a crash or Ctrl-C run it again.
    """

    def body() -> Answer:
        from pipelines import backfill_report as reports
        from pipelines.backfill import backfill as run_windows
        from pipelines.progress import reporting

        with reporting() as progress:
            report = run_windows(reports.Request(study, **given), progress)
        return Answer(report.as_dict(), reports.text(report), report.error)

    answer("causeway.backfill/1", as_json, body)


@click.command(
    short_help="Put the studies' schedules on a Prefect server.",
    epilog="\b\nExample:\n  PREFECT_API_URL=http://127.0.0.1:4200/api causeway deploy rain_delays",
)
@click.argument("studies", nargs=-1, required=True)
@profile_option
@json_option
def deploy(studies: tuple[str, ...], profile: str | None, as_json: bool) -> None:
    """Create or update Prefect deployments: each study's schedule, and a form for its backfills.

    The work pool, its queues and their limits are made too. cron and Airflow need no server.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.deploy import deploy as create

        return create(studies, load_profile(profile), profile)

    answer("causeway.deploy/1", as_json, body)
