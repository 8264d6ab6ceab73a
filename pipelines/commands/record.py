"""Commands that read the record, and decide on it."""

from __future__ import annotations

from typing import Any

import click

from pipelines.commands.options import json_option, profile_option, study_argument
from pipelines.output import Answer, answer


@click.command(
    short_help="Show what is recorded of a study.",
    epilog="\b\nExamples:\n  causeway effects rain_delays --window 2013-03 --json\n"
    "  causeway effects rain_delays --window 2013 --by carrier\n"
    "  causeway effects rain_delays --window 2013 --contrast origin=JFK,origin=LGA\n"
    "  causeway effects rain_delays --contrast 2013-01,2013-02",
)
@study_argument
@click.option("--window", help="Only this window.")
@click.option("--by", multiple=True, metavar="COLUMN", help="By group: origin, or origin*month.")
@click.option(
    "--contrast",
    multiple=True,
    metavar="A,B",
    help="A less B: two groups, effects or windows.",
)
@click.option("--effect", multiple=True, metavar="GLOB", help="Only these effects.")
@click.option(
    "--adjust",
    type=click.Choice(["romano-wolf", "holm"]),
    default="romano-wolf",
    show_default=True,
    help="How p-values and bands answer for the family shown.",
)
@profile_option
@json_option
def effects(
    study: str, window: str | None, profile: str | None, as_json: bool, **given: Any
) -> None:
    """Show the current effects of a study: intervals, verdicts and failed checks.

    Reads the record only; of each window and effect the row recorded last. --by and --contrast
    refit nothing: groups that the study declares come from its sums, groups of other stored
    columns from the unit scores.
    """

    def body() -> Answer:
        from conf.load import load_study
        from conf.profile import load_profile
        from conf.windows import parse_span
        from pipelines import effects as known
        from pipelines.tables import found_text

        loaded = load_study(study)
        span = parse_span(window, loaded.study.window) if window else None
        found = known.ask(load_profile(profile), loaded, known.Question(span, **given))
        name = loaded.study.study
        asked = bool(given["by"] or given["contrast"])
        text = found_text(found, name, asked=asked)
        return Answer(known.as_object(name, found), text)

    answer("causeway.effects/1", as_json, body)


@click.command(
    short_help="Our estimates beside DoubleML's and EconML's.",
    epilog="\b\nExample:\n  causeway compare rain_delays --with doubleml,econml --window 2013-01",
)
@study_argument
@click.option(
    "--with", "peers", default="doubleml,econml", show_default=True, help="Packages, by comma."
)
@click.option("--window", help="A recorded window (default: the run recorded last).")
@click.option("--sample", default="200k", show_default=True, help="Units at most.")
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Cross-fits on folds of their own.",
)
@profile_option
@json_option
def compare(study: str, profile: str | None, as_json: bool, **given: Any) -> None:
    """Estimate a recorded window in other packages: agreement, spread over seeds, time, memory.

    They get the same features, folds and predictions, each in a process of its own. Writes nothing.
    """

    def body() -> Answer:
        from conf.profile import load_profile
        from pipelines.compare import compare as beside
        from pipelines.progress import reporting

        with reporting() as progress:
            return beside(study, load_profile(profile), progress, **given)

    answer("causeway.compare/1", as_json, body)


@click.command(
    short_help="Candidate beside champion; promote or reject.",
    epilog="\b\nExamples:\n  causeway review rain_delays\n"
    "  causeway review rain_delays --promote irm.ate.rain.dep_delay --reviewer Ada"
    " --reason 'all checks pass'",
)
@study_argument
@click.option("--promote", multiple=True, metavar="EFFECT", help="Make it the champion.")
@click.option("--reject", multiple=True, metavar="EFFECT", help="It stands for decision no more.")
@click.option("--window", help="The run of this window, not the candidate.")
@click.option("--run", metavar="RUN_KEY", help="The run of this key (8 digits or more).")
@click.option("--reason", default="", help="Why; needed for a decision.")
@click.option("--reviewer", default="", help="Who decides; needed for a decision.")
@profile_option
@json_option
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


@click.command(
    short_help="Compute a recorded run again and compare.",
    epilog="\b\nExample:\n  causeway reproduce 41fdbf068e75...   (64 digits, see effects --json)",
)
@click.argument("run_key")
@profile_option
@json_option
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
