"""The schedules that the documents show do what is said of them: exit code 75 is taken later."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from estimators.errors import NotMatureError
from tests.infra.machine import ROOT
from tests.jobs import prebuilt
from tests.pipelines.command import clean_environment

DOCUMENT = (ROOT / "infra" / "schedules" / "README.md").read_text()


def cron_line() -> str:
    """The command of the line for cron, as cron hands it to the shell."""
    (line,) = re.findall(r"^0 3 2-8 \* \* (.+)$", DOCUMENT, re.MULTILINE)
    return str(line).replace(r"\%", "%")


def dag() -> dict[str, ast.expr]:
    """What the documented operator of Airflow is given."""
    (block,) = re.findall(r"```python\n(.+?)```", DOCUMENT, re.DOTALL)
    (call,) = [
        each
        for each in ast.walk(ast.parse(block))
        if isinstance(each, ast.Call) and getattr(each.func, "id", "") == "BashOperator"
    ]
    return {each.arg: each.value for each in call.keywords if each.arg}


@pytest.mark.parametrize(
    ("due", "first", "last"),
    [("2026-11-02T08:00", "2026-08", "2026-10"), ("2026-02-02T08:00", "2025-11", "2026-01")],
)
def test_the_task_of_airflow_asks_for_the_last_three_months(
    due: str, first: str, last: str
) -> None:
    import jinja2
    import pendulum

    given = dag()
    template = jinja2.Template(ast.literal_eval(given["bash_command"]))
    words = shlex.split(template.render(data_interval_end=pendulum.parse(due)))
    assert words[1:] == [
        "backfill", "rain_delays", "--json", "--from", first, "--to", last,
    ]  # fmt: skip
    assert ast.literal_eval(given["skip_on_exit_code"]) == NotMatureError.exit_code


@pytest.mark.slow
@pytest.mark.engines
def test_cron_takes_a_window_that_was_not_mature_the_next_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    place = prebuilt.place(home)
    prebuilt.write_lake(home)
    study = prebuilt.write_study(tmp_path)
    prebuilt.prebuild(study, prebuilt.MONTHS[1:], place)
    clock = tmp_path / "bin" / "date"
    clock.parent.mkdir()
    clock.write_text('#!/bin/sh\nexec /bin/date -d "2024-05-02 03:00 $2" "$3"\n')
    clock.chmod(0o755)
    line = cron_line().replace("/opt/causeway/.venv", sys.prefix)
    line = line.replace("/srv/causeway", str(tmp_path)).replace("rain_delays", f"{study} --json")

    def cron() -> int:
        path = f"{clock.parent}:{os.environ['PATH']}"
        given = clean_environment(home) | {"PATH": path}
        return subprocess.run(
            ["/bin/sh", "-c", line], env=given, cwd=tmp_path, check=False
        ).returncode

    def summary() -> dict[str, int]:
        log = (tmp_path / "cron.log").read_text().splitlines()
        found = json.loads([each for each in log if each.startswith("{")][-1])["summary"]
        assert isinstance(found, dict)
        return found

    assert cron() == 75
    assert summary() == {"computed": 2, "already_recorded": 0, "not_mature": 1, "failed": 0}
    prebuilt.write_month(home, "2024-04")
    prebuilt.prebuild(study, ("2024-04",), place)
    assert cron() == 0
    assert summary() == {"computed": 1, "already_recorded": 2, "not_mature": 0, "failed": 0}
