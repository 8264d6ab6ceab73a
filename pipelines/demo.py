"""The demo: whether rain in the scheduled hour delays departures from New York."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from conf.load import load_study
from conf.profile import Profile
from estimators.errors import CausewayError
from jobs.demo_lake import data_folder, demo_lake_written, write_demo_lake
from jobs.engines import kept_spark
from jobs.ledger import Progress
from jobs.pages import wording
from pipelines.effects import Row, current
from pipelines.execution import Execution
from pipelines.run import run_study, server_meanwhile
from pipelines.tables import effects_text

SCHEMA = "causeway.demo/1"
STUDY, TWIN, YEAR = "rain_delays", "rain_delays_overcontrolled", "2013"
RUNS = ((STUDY, YEAR), (STUDY, "2013-01"), (STUDY, "2013-02"), (TWIN, YEAR))


def demo(profile: Profile, name: str | None, progress: Progress) -> list[Execution]:
    """Write the demo's lake and run its studies; what is recorded is not computed again.

    Parameters
    ----------
    name
        The profile as the user named it.

    Returns
    -------
    list
        Executions in the order of `RUNS`, up to the first that failed.
    """
    written = demo_lake_written(profile)
    if not written:
        data_folder()  # refuses before a server or Spark starts
    with kept_spark(profile):
        with nullcontext() if written else server_meanwhile(profile):
            write_demo_lake(profile, progress)
        return _run_all(name, progress)


def _run_all(name: str | None, progress: Progress) -> list[Execution]:
    executions = []
    for number, (study, window) in enumerate(RUNS):
        progress("studies", number, len(RUNS), f"{study} {window}")
        execution = run_study(study, window, profile=name, progress=progress)
        executions.append(execution)
        if execution.error is not None:
            return executions
    progress("studies", len(RUNS), len(RUNS))
    return executions


def as_object(executions: list[Execution], error: CausewayError | None) -> dict[str, Any]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "runs": [each.as_dict() for each in executions],
        "error": error.as_dict() if error else None,
    }


def text(profile: Profile, executions: list[Execution]) -> str:
    """The effects, what they teach, and what to do next."""
    parts = []
    for study in (STUDY, TWIN):
        rows = [row for row in current(profile, load_study(study)) if row["group_by"] is None]
        parts += [f"{study}\n", effects_text(rows), "\n"]
    parts += ["What to see\n", *(f"  - {lesson}\n" for lesson in _lessons(profile, executions))]
    parts += [
        "\nWhat to do next\n",
        "  make ui                                        the runs in MLflow\n",
        "  causeway effects rain_delays                   all effects, the groups too\n",
        "  causeway run rain_delays --window 2013-03      another month\n",
        "  causeway init --table T --treatment d --outcome y    a study of your own\n",
    ]
    return "".join(parts)


def _lessons(profile: Profile, executions: list[Execution]) -> Iterator[str]:
    year, twin = executions[0], executions[-1]
    plain = {row["effect_id"]: row for row in _whole(year)}
    yield from _clusters(plain.get("plr.slope.rain.dep_delay"))
    yield from _attrition(year)
    yield from _twin(year, twin)


def _whole(execution: Execution) -> list[Row]:
    return execution.found.effects if execution.found else []


def _clusters(row: Row | None) -> Iterator[str]:
    if row and wording.estimable(row):
        yield (
            f"The interval depends on the cluster: rain adds {wording.interval(row)} minutes with"
            f" flights of a day together (SE {wording.number(row['se'])}); taken one by one they"
            f" would promise an SE of {wording.number(row['se_hc0'])}."
        )


def _attrition(execution: Execution) -> Iterator[str]:
    gap = _check(execution, "attrition", "gap", "dep_delay")
    if gap is None:
        return
    share = {arm: f"{100 * value:.1f} %" for arm, value in gap["missing"].items()}
    yield (
        f"Cancelled flights have no delay: {share['1']} are missing with rain, {share['0']}"
        " without. Dropping them selects on an outcome, so attrition fails; `cancelled` is an"
        " outcome itself."
    )


def _twin(year: Execution, twin: Execution) -> Iterator[str]:
    slope = "plr.slope.rain.dep_delay"
    rows = [
        next((row for row in _whole(each) if row["effect_id"] == slope), None)
        for each in (year, twin)
    ]
    effect = "irm.ate.rain.dep_delay"
    shares = [_value(each, "overlap", "ess_share", effect) for each in (year, twin)]
    gap = _value(twin, "missingness", "max_gap", None)
    if rows[0] and rows[1]:
        yield (
            "The twin looks better controlled and is wrong: pressure, humidity and dew point are"
            f" consequences of rain. Its effect shrinks from {wording.number(rows[0]['theta'])} to"
            f" {wording.number(rows[1]['theta'])} minutes; overlap (effective sample share"
            f" {wording.number(shares[1], 2)} against {wording.number(shares[0], 2)}) and"
            f" missingness (a gap of {wording.number(gap, 2)}) tell."
        )


def _check(execution: Execution, check: str, metric: str, outcome: str) -> Mapping[str, Any] | None:
    """Detail of an outcome's check."""
    for row in execution.found.checks if execution.found else []:
        if (row.check, row.metric) == (check, metric) and outcome in (row.effect_id or ""):
            return dict(json.loads(row.detail))
    return None


def _value(execution: Execution, check: str, metric: str, effect_id: str | None) -> float | None:
    for row in execution.found.checks if execution.found else []:
        if (row.check, row.metric, row.effect_id) == (check, metric, effect_id):
            return row.value
    return None
