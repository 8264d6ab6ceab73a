"""The command line: a thin root. What a command does lies in the module of its name."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from conf.profile import debug
from pipelines.output import INTERRUPTED, Answer, answer, as_line, interrupted

_EXAMPLES = """\b
Examples:
  causeway demo                                       the whole way, on real flights
  causeway init --table lake/orders --treatment coupon --outcome spend
  causeway validate orders.yaml                       all faults at once, in a second
  causeway preview orders.yaml                        rows, NULLs, arms, overlap
  causeway run orders.yaml --window 2026-03           one window, recorded
  causeway backfill orders.yaml --from 2026-01 --to 2026-06
  causeway effects orders.yaml                        what is known so far
  causeway doctor                                     what this machine lacks

\b
STUDY is a file, or a name in ./conf/studies or the package.
CAUSEWAY_HOME (default ./.causeway) holds the lake of the demo, the record and MLflow.

\b
Exit codes: 0 recorded · 1 internal · 2 usage · 3 invalid study · 4 data contract
  5 source gone · 6 environment · 7 no effect · 8 gate failed (--strict)
  9 backfill partly failed · 75 try again · 130 interrupted
"""
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
_profile = click.option("--profile", help="Where to run: a name or a file (default: local).")
_study = click.argument("study")


class _InOrder(click.Group):
    """Commands in the order in which one meets them, not by alphabet."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Names in the order of this file."""
        return list(self.commands)


@click.group(
    cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES
)
@click.version_option(package_name="causeway")
def root() -> None:
    """Causal effects from a Delta lake: pinned data, diagnostics, a record a reviewer can trust."""


@root.command(
    short_help="The whole way, on 336,776 real flights.",
    epilog="\b\nThen look: make ui, or causeway effects rain_delays.",
)
@_profile
@_json
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


@root.command(
    short_help="Write a study from a table's columns.",
    epilog="\b\nExample:\n  causeway init --table lake/orders --treatment coupon --outcome spend"
    " --output orders.yaml",
)
@click.option("--table", required=True, help="A Delta table: path, or {lake}/name.")
@click.option("--treatment", required=True, help="Its column with the treatment.")
@click.option("--outcome", required=True, help="Its column with the outcome.")
@click.option("--name", help="Name of the study (default: from the outcome and the treatment).")
@click.option("--output", type=click.Path(path_type=Path), help="The file (default: NAME.yaml).")
@_json
def init(as_json: bool, output: Path | None, **given: Any) -> None:
    """Write a valid study from a table, a treatment and an outcome.

    The other columns become covariates: take out those that the treatment changes. An existing
    file is not overwritten.
    """

    def body() -> Answer:
        from pipelines.init import init as write

        return write(output=output, **given)

    answer("causeway.init/1", as_json, body)


@root.command(
    short_help="List every fault of a study.",
    epilog="\b\nExample:\n  causeway validate rain_delays",
)
@_study
@_json
def validate(study: str, as_json: bool) -> None:
    """Check a study and list every fault, with its line and the nearest valid name.

    Reads the file only: no engine starts, no table is opened.
    """

    def body() -> Answer:
        from pipelines.validate import validate as check

        return check(study)

    answer("causeway.validate/1", as_json, body)


@root.command(
    short_help="Look at a study's units before estimating.",
    epilog="\b\nExample:\n  causeway preview rain_delays --window 2013-03",
)
@_study
@click.option("--window", help="One window (default: the last that the sources fill).")
@_profile
@_json
def preview(study: str, window: str | None, profile: str | None, as_json: bool) -> None:
    """Show rows, NULLs, arms and crude overlap, on up to 50,000 units. Writes nothing."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.preview import preview as look
        from pipelines.progress import reporting

        with reporting() as progress:
            return look(study, window, load_profile(profile), progress)

    answer("causeway.preview/1", as_json, body)


@root.command(
    short_help="Show what would be computed, why, and what it costs.",
    epilog="\b\nExamples:\n  causeway plan rain_delays\n"
    "  causeway plan rain_delays --from 2013-01 --to 2013-12",
)
@_study
@click.option("--window", help="One window.")
@click.option("--from", "first", help="First window, such as 2013-01.")
@click.option("--to", "last", help="Last window, included.")
@_profile
@_json
def plan(study: str, profile: str | None, as_json: bool, **given: Any) -> None:
    """Show which windows would be computed, what changed since they were recorded, and the cost.

    Without --window, --from and --to: the windows that are recorded. Starts no engine.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines import plan as plans

        found = plans.plan(study, load_profile(profile), **given)
        return Answer(plans.as_object(found), plans.text(found))

    answer("causeway.plan/1", as_json, body)


@root.command(
    short_help="Estimate a study on one window and record it.",
    epilog="\b\nExamples:\n  causeway run rain_delays --window 2013-03\n"
    "  causeway run rain_delays --window 2013-01..2013-06 --json\n"
    "  causeway run nsw.yaml                       a study without time has no window",
)
@_study
@click.option("--window", help="2013, 2013-03, 2013-03-05 or 2013-01..2013-06 (one window).")
@_profile
@click.option("--recompute", is_flag=True, help="Compute again, compare digests, write nothing.")
@click.option("--strict", is_flag=True, help="Exit with 8 where a gate fails.")
@_json
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


@root.command(
    short_help="Estimate a study on many windows.",
    epilog="\b\nExamples:\n  causeway backfill rain_delays --from 2013-01 --to 2013-12\n"
    "  causeway backfill rain_delays --from 2013-01 --to 2013-12 --pin as-of-window\n"
    "  causeway backfill rain_delays --retry-failed",
)
@_study
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
@click.option("--retry-failed", is_flag=True, help="What the last backfill left, on its versions.")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Windows in a stage at a time.",
)
@_profile
@_json
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


@root.command(
    short_help="Show what is recorded of a study.",
    epilog="\b\nExample:\n  causeway effects rain_delays --window 2013-03 --json",
)
@_study
@click.option("--window", help="Only this window.")
@_profile
@_json
def effects(study: str, window: str | None, profile: str | None, as_json: bool) -> None:
    """Show the current effects of a study: intervals, verdicts and failed checks.

    Reads the record only; of each window and effect the row recorded last.
    """

    def body() -> Answer:
        from conf.load import load_study
        from conf.profile import load_profile
        from conf.windows import parse_span
        from pipelines import effects as known
        from pipelines.tables import effects_text

        loaded = load_study(study)
        span = parse_span(window, loaded.study.window) if window else None
        rows = known.current(load_profile(profile), loaded, span)
        name = loaded.study.study
        text = effects_text(rows) if rows else f"{name}: nothing is recorded yet\n"
        return Answer(known.as_object(name, rows), text)

    answer("causeway.effects/1", as_json, body)


@root.command(
    short_help="Candidate beside champion; promote or reject.",
    epilog="\b\nExamples:\n  causeway review rain_delays\n"
    "  causeway review rain_delays --promote irm.ate.rain.dep_delay --reviewer Ada"
    " --reason 'all checks pass'",
)
@_study
@click.option("--promote", multiple=True, metavar="EFFECT", help="Make it the champion.")
@click.option("--reject", multiple=True, metavar="EFFECT", help="It stands for decision no more.")
@click.option("--window", help="The run of this window, not the candidate.")
@click.option("--run", metavar="RUN_KEY", help="The run of this key (8 digits or more).")
@click.option("--reason", default="", help="Why; needed for a decision.")
@click.option("--reviewer", default="", help="Who decides; needed for a decision.")
@_profile
@_json
def review(study: str, profile: str | None, as_json: bool, **given: Any) -> None:
    """Show each effect's candidate beside its champion, with the drift test, and decide.

    A candidate is the newest run whose gates pass; a failed gate never moves the champion. A
    decision goes into the record with its name and reason, and from there into MLflow.
    """

    def body() -> Answer:
        from conf.load import load_study
        from conf.profile import load_profile
        from pipelines import review as desk

        reviewed = desk.review(load_profile(profile), load_study(study), desk.Request(**given))
        return Answer(desk.as_object(reviewed), desk.text(reviewed))

    answer("causeway.review/1", as_json, body)


@root.command(
    short_help="Compact, vacuum, erase, migrate, tell.",
    epilog="\b\nExamples:\n  causeway maintain --dry-run\n"
    "  causeway maintain rain_delays               and tell what is new of its gates and schedule\n"
    "  causeway maintain --erase STUDY --unit 4711 --reason 'request 17' --by Ada",
)
@click.argument("studies", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would be removed; change nothing.")
@click.option("--compact-lake", is_flag=True, help="Compact source tables under the home too.")
@click.option("--migrate", is_flag=True, help="Bring an older record to today's schema.")
@click.option("--erase", metavar="TABLE|STUDY", help="Erase rows, in old versions too.")
@click.option("--where", help="Of a table: columns compared with literals.")
@click.option("--unit", "units", multiple=True, metavar="ID", help="Of a study: a unit.")
@click.option("--cluster", "clusters", multiple=True, metavar="ID", help="Of a study: a cluster.")
@click.option("--reason", default="", help="Why rows are erased.")
@click.option("--by", "requested_by", default="", help="Who asked for it.")
@_profile
@_json
def maintain(profile: str | None, as_json: bool, **given: Any) -> None:
    """Compact and vacuum the tables under the home; pinned versions stay readable.

    With studies, tells the webhook (CAUSEWAY_WEBHOOK_URL) and Prefect what is new: failed gates,
    drift from the champion, a missed schedule.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines import maintain as upkeep
        from pipelines.progress import reporting

        request = upkeep.Request(**given)
        with reporting() as progress:
            done = upkeep.maintain(load_profile(profile), request, progress)
        return Answer(upkeep.as_object(done), upkeep.text(done))

    answer("causeway.maintain/1", as_json, body)


@root.command(
    short_help="Put the studies' schedules on a Prefect server.",
    epilog="\b\nExample:\n  PREFECT_API_URL=http://127.0.0.1:4200/api causeway deploy rain_delays",
)
@click.argument("studies", nargs=-1, required=True)
@_profile
@_json
def deploy(studies: tuple[str, ...], profile: str | None, as_json: bool) -> None:
    """Create or update Prefect deployments: each study's schedule, and a form for its backfills.

    The work pool, its queues and their limits are made too. cron and Airflow need no server.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.deploy import deploy as create

        return create(studies, load_profile(profile), profile)

    answer("causeway.deploy/1", as_json, body)


@root.command(
    short_help="Compute a recorded run again and compare.",
    epilog="\b\nExample:\n  causeway reproduce 41fdbf068e75...   (64 digits, see effects --json)",
)
@click.argument("run_key")
@_profile
@_json
def reproduce(run_key: str, profile: str | None, as_json: bool) -> None:
    """Compute a recorded run again from its pinned data, and compare every stage's digest.

    Writes nothing to the record. Where a pinned version is gone it starts from the recorded
    features and names the source. Exit code 1 where a digest differs.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.progress import reporting
        from pipelines.reproduce import reproduce as compute

        with reporting() as progress:
            return compute(run_key, load_profile(profile), progress)

    answer("causeway.reproduce/1", as_json, body)


@root.command(
    short_help="Open MLflow (and Prefect).", epilog="\b\nExample:\n  causeway ui --prefect --port 0"
)
@click.option("--port", default=5000, show_default=True, help="MLflow's port; 0: any free one.")
@click.option("--prefect", is_flag=True, help="Prefect's server too.")
@click.option("--prefect-port", default=4200, show_default=True, help="Its port; 0: any free one.")
@_profile
def ui(profile: str | None, **given: Any) -> None:
    """Open MLflow on the record (and Prefect on the flows), until Ctrl-C."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.ui import serve

        with contextlib.suppress(KeyboardInterrupt):  # how one leaves it
            serve(load_profile(profile), **given)
        return Answer({}, "stopped\n")

    answer("causeway.ui/1", False, body)


@root.command(short_help="Say what this machine lacks.")
@_profile
@_json
def doctor(profile: str | None, as_json: bool) -> None:
    """Say what this machine has and lacks: Java, JARs, engines, disk, memory, ports, GPU."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines import doctor as medicine

        lines = medicine.examine(load_profile(profile))
        error = medicine.verdict(lines)
        return Answer(medicine.as_object(lines, error), medicine.text(lines), error)

    answer("causeway.doctor/1", as_json, body)


def execute(arguments: Sequence[str]) -> int:
    """Run a command line in this process; returns its exit code."""
    try:
        root(list(arguments), standalone_mode=False, prog_name="causeway")
    except click.ClickException as error:
        error.show()
        if "--json" in arguments:
            sys.stdout.write(as_line(_usage(error, arguments)))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write(f"{interrupted()}\n")
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _usage(error: click.ClickException, arguments: Sequence[str]) -> dict[str, Any]:
    from estimators.errors import UsageError

    refused = UsageError(error.format_message(), remedy="causeway COMMAND --help shows how")
    command = next((each for each in arguments if each in root.commands), "cli")
    return {"schema": f"causeway.{command}/1", "error": refused.as_dict()}


def _terminate(*_: object) -> None:
    """End as Ctrl-C does, also where a shell started this with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> NoReturn:
    """Entry point of ``causeway``."""
    code = 1  # an error that nobody foresaw

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # whoever read it has left
                stream.flush()
        os._exit(code)

    # First in, last out: engines have stopped by then. Arrow's threads that still read ahead, and a
    # stage's thread after an interrupt, must not meet an interpreter that is taken down under them:
    # it ends in SIGABRT now and then (https://github.com/apache/arrow/issues/45017).
    atexit.register(leave)
    signal.signal(signal.SIGTERM, _terminate)
    code = execute(sys.argv[1:])
    if code == INTERRUPTED and not debug():
        # All is said; what engines complain of while they are torn down helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    raise SystemExit(code)
