"""Commands that care for the record and the machine."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from pipelines.commands.options import json_option, profile_option
from pipelines.output import Answer, answer

_PORT = click.IntRange(0, 65_535)


@click.command(
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
@profile_option
@json_option
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


@click.command(
    short_help="Open MLflow (and Prefect).", epilog="\b\nExample:\n  causeway ui --prefect --port 0"
)
@click.option(
    "--port", type=_PORT, default=5000, show_default=True, help="MLflow's port; 0: any free one."
)
@click.option("--prefect", is_flag=True, help="Prefect's server too.")
@click.option(
    "--prefect-port", type=_PORT, default=4200, show_default=True, help="Its port; 0: any free one."
)
@profile_option
def ui(profile: str | None, **given: Any) -> None:
    """Open MLflow on the record (and Prefect on the flows), until Ctrl-C."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.ui import serve

        with contextlib.suppress(KeyboardInterrupt):  # how one leaves it
            serve(load_profile(profile), **given)
        return Answer({}, "stopped\n")

    answer("causeway.ui/1", False, body)


@click.command(short_help="Say what this machine lacks.")
@profile_option
@json_option
def doctor(profile: str | None, as_json: bool) -> None:
    """Say what this machine has and lacks: Java, JARs, engines, disk, memory, ports, GPU."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines import doctor as medicine

        lines = medicine.examine(load_profile(profile))
        error = medicine.verdict(lines)
        return Answer(medicine.as_object(lines, error), medicine.text(lines), error)

    answer("causeway.doctor/1", as_json, body)
