"""Usage: help that teaches, refusals with exit code 2, one JSON object whatever happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines.cli import root
from tests.pipelines.command import Causeway

COMMANDS = tuple(root.commands)
FIRST = {"demo", "init", "validate", "run", "effects", "ui", "doctor"}


def test_help_lists_the_commands_in_order_and_teaches_by_example(here: Causeway) -> None:
    shown = here("--help")
    assert shown.code == 0
    listed = re.search(r"Commands:\n((?:  \w+ .*\n)+)", shown.out)
    assert listed is not None
    assert tuple(line.split()[0] for line in listed[1].splitlines()) == COMMANDS
    assert "causeway run orders.yaml --window 2026-03" in shown.out
    assert "75 try again" in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    context = root.make_context("causeway", [], resilient_parsing=True)
    shown = root.commands[command].get_help(context)
    assert len(shown.splitlines()) > 5
    for option in root.commands[command].params:
        if option.param_type_name == "option":
            assert getattr(option, "help", None), f"{option.name} has no help"


def test_the_commands_of_the_design_are_there() -> None:
    assert set(COMMANDS) >= FIRST


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frob"], "No such command 'frob'"),
        (["validate"], "Missing argument 'STUDY'"),
        (["run", "rain_delays", "--frob"], "No such option"),
        (["run", "rain_delays", "--window", "March"], "'March' is no window"),
        (["run", "rain_delays", "--window", "2013-13"], "'2013-13' is no date"),
        (["run", "rain_delays", "--window", "2013-03..2013-01"], "ends before it begins"),
        (["run", "rain_delays"], "no window was given"),
        (["run", "rain_delay", "--window", "2013"], "did you mean 'rain_delays'?"),
        (["run", "no/such.yaml", "--window", "2013"], "no study file no/such.yaml"),
        (["effects", "rain_delays", "--window", "x"], "'x' is no window"),
        (["init", "--table", "t", "--treatment", "d"], "Missing option '--outcome'"),
        (["ui", "--port", "http"], "'http' is not a valid integer"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_refused_with_2(here: Causeway, arguments: list[str], says: str) -> None:
    refused = here(*arguments)
    assert refused.code == 2
    assert says in refused.err
    assert refused.out == ""
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "rain_delays", "--window", "March"],
        ["run", "nope", "--window", "2013"],
        ["run", "--json"],
        ["validate", "nope"],
        ["effects", "nope"],
    ],
    ids=" ".join,
)
def test_json_is_one_object_also_where_the_usage_is_wrong(
    here: Causeway, arguments: list[str]
) -> None:
    refused = here(*arguments, "--json")
    found = refused.object
    assert refused.code == 2
    assert found["schema"] == f"causeway.{arguments[0]}/1"
    assert found["error"]["type"] == "UsageError"
    assert found["error"]["retryable"] is False
    assert found["error"]["remedy"]


def test_a_refused_run_is_a_whole_run_object(here: Causeway) -> None:
    found = here("run", "rain_delays", "--window", "March", "--json").object
    assert found["status"] == "failed"
    assert found["study"] == "rain_delays"
    assert [stage["status"] for stage in found["stages"]] == ["not_run"] * 5
    assert [stage["name"] for stage in found["stages"]] == [
        "resolve", "features", "crossfit", "estimate", "register",
    ]  # fmt: skip
    assert found["checks"] == {"passed": 0, "failed": 0, "info": 0}
    assert found["mlflow"] is None


def test_nothing_is_written_by_refused_commands(here: Causeway, home: Path) -> None:
    here("run", "rain_delays", "--window", "March")
    here("validate", "rain_delays")
    here("effects", "rain_delays")
    assert not home.exists()


def test_a_profile_that_is_not_there_is_6(here: Causeway) -> None:
    refused = here("effects", "rain_delays", "--profile", "moon")
    assert refused.code == 6
    assert "no profile 'moon'" in refused.err
    assert "local" in refused.err


def test_debug_shows_the_traceback_and_ordinary_errors_do_not(here: Causeway) -> None:
    assert "Traceback" not in here("validate", "nope").err
    assert "Traceback" in here("validate", "nope", CAUSEWAY_DEBUG="1").err
