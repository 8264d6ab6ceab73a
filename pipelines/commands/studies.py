"""Commands that write and judge a study: nothing is estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipelines.commands.options import json_option, profile_option, study_argument
from pipelines.output import Answer, answer


@click.command(
    short_help="Write a study from a table's columns.",
    epilog="\b\nExample:\n  causeway init --table lake/orders --treatment coupon --outcome spend"
    " --output orders.yaml",
)
@click.option("--table", required=True, help="A Delta table: path, or {lake}/name.")
@click.option("--treatment", required=True, help="Its column with the treatment.")
@click.option("--outcome", required=True, help="Its column with the outcome.")
@click.option("--id", "unit_id", help="Column with the id of a unit (default: `id` or `..._id`).")
@click.option("--time", help="Column with a unit's time (default: the first timestamp).")
@click.option("--cluster", help="Column whose units share shocks, for honest intervals.")
@click.option("--name", help="Name of the study (default: from the outcome and the treatment).")
@click.option("--output", type=click.Path(path_type=Path), help="The file (default: NAME.yaml).")
@json_option
def init(as_json: bool, output: Path | None, **given: Any) -> None:
    """Write a valid study from a table, a treatment and an outcome.

    The other columns become covariates: take out those that the treatment changes. An existing
    file is not overwritten.
    """

    def body() -> Answer:
        from pipelines.init import init as write

        return write(output=output, **given)

    answer("causeway.init/1", as_json, body)


@click.command(
    short_help="List every fault of a study.",
    epilog="\b\nExample:\n  causeway validate rain_delays",
)
@study_argument
@json_option
def validate(study: str, as_json: bool) -> None:
    """Check a study and list every fault, with its line and the nearest valid name.

    Reads the file only: no engine starts, no table is opened.
    """

    def body() -> Answer:
        from pipelines.validate import validate as check

        return check(study)

    answer("causeway.validate/1", as_json, body)


@click.command(
    short_help="Look at a study's units before estimating.",
    epilog="\b\nExample:\n  causeway preview rain_delays --window 2013-03",
)
@study_argument
@click.option("--window", help="One window (default: the last that the sources fill).")
@profile_option
@json_option
def preview(study: str, window: str | None, profile: str | None, as_json: bool) -> None:
    """Show rows, NULLs, arms and crude overlap, on up to 50,000 units. Writes nothing."""

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.preview import preview as look
        from pipelines.progress import reporting

        with reporting() as progress:
            return look(study, window, load_profile(profile), progress)

    answer("causeway.preview/1", as_json, body)


@click.command(
    short_help="Show what would be computed, why, and what it costs.",
    epilog="\b\nExamples:\n  causeway plan rain_delays\n"
    "  causeway plan rain_delays --from 2013-01 --to 2013-12",
)
@study_argument
@click.option("--window", help="One window.")
@click.option("--from", "first", help="First window, such as 2013-01.")
@click.option("--to", "last", help="Last window, included.")
@profile_option
@json_option
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
