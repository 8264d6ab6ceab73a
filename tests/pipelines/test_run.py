"""`run` with every real engine: the run object, the record, Prefect's page, what a re-run does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.lake import read_record
from tests.pipelines.command import Ran, causeway_in
from tests.pipelines.small_study import EFFECT, STUDY, WINDOW, write_orders, write_study

pytestmark = pytest.mark.engines

KEYS = {
    "schema", "study", "window", "run_key", "status", "stages", "effects", "checks", "gates",
    "effects_digest", "mlflow", "error",
}  # fmt: skip
EFFECTS = [
    "irm.ate.coupon.spend",
    "irm.ate.coupon.spend@city=Lima",
    "irm.ate.coupon.spend@city=Oslo",
    "irm.ate.coupon.spend@city=Rome",
    "plr.slope.coupon.spend",
]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A home in which the small study ran once, and how to run more there."""

    home: Path
    study: Path
    first: Ran
    run: Callable[..., Ran]

    @property
    def command(self) -> tuple[str, ...]:
        """Run the study on its window."""
        return ("run", str(self.study), "--window", WINDOW)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """A table of the record."""
        return list(read_record(f"{self.home}/record", table).to_pylist())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Recorded:
    folder = tmp_path_factory.mktemp("run")
    home = folder / "home"
    write_orders(home)
    study = write_study(folder)
    run = causeway_in(folder, home, PREFECT_API_URL=prefect_server)
    first = run("run", str(study), "--window", WINDOW, "--json")
    assert first.code == 0, first.err
    return Recorded(home, study, first, run)


def test_the_run_object_is_the_contracts(recorded: Recorded) -> None:
    found = recorded.first.object
    assert set(found) == KEYS
    assert found["schema"] == "causeway.run/1"
    assert found["study"] == "coupons"
    assert found["window"] == {"start": "2013-01-01T00:00:00Z", "end": "2013-02-01T00:00:00Z"}
    assert found["status"] == "computed"
    assert len(found["run_key"]) == 64
    assert found["effects_digest"].startswith("sha256:")
    assert found["effects"] == len(EFFECTS)
    assert found["gates"] == {"passed": True, "failed": []}
    assert found["error"] is None


def test_every_stage_says_what_it_committed(recorded: Recorded) -> None:
    stages = {stage["name"]: stage for stage in recorded.first.object["stages"]}
    assert list(stages) == ["resolve", "features", "crossfit", "estimate", "register"]
    assert {stage["status"] for stage in stages.values()} == {"computed"}
    for name in ("features", "crossfit", "estimate"):
        assert len(stages[name]["key"]) == 64
        assert stages[name]["version"] >= 0
        assert stages[name]["rows"] > 0
        assert stages[name]["seconds"] > 0
    assert stages["estimate"]["table"] == "effects"
    assert stages["estimate"]["key"] == recorded.first.object["run_key"]


def test_the_record_has_the_effects_and_they_are_near_the_truth(recorded: Recorded) -> None:
    rows = {row["effect_id"]: row for row in recorded.rows("effects")}
    assert sorted(rows) == EFFECTS
    for row in rows.values():
        assert row["status"] == "ok"
        assert abs(row["theta"] - EFFECT) < 5 * row["se"]
        assert row["se_kind"] == "cluster:shop"
        assert dict(row["sources"]) == {"orders": 0}


def test_nothing_but_the_object_is_on_stdout_and_progress_is_on_stderr(
    recorded: Recorded,
) -> None:
    assert recorded.first.out.count("\n") == 1
    assert "crossfit" in recorded.first.err
    assert "Traceback" not in recorded.first.err


def test_checks_are_counted(recorded: Recorded) -> None:
    rows = recorded.rows("checks")
    assert recorded.first.object["checks"] == {
        "passed": sum(row["passed"] is True for row in rows),
        "failed": sum(row["passed"] is False for row in rows),
        "info": sum(row["passed"] is None for row in rows),
    }


def test_prefect_shows_a_named_run_a_task_a_stage_and_both_artifacts(
    recorded: Recorded, prefect_server: str
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

    async def look() -> tuple[Any, list[str], dict[str, str]]:
        async with get_client() as client:
            named = FlowRunFilter(name=FlowRunFilterName(any_=[f"coupons {WINDOW}"]))
            runs = await client.read_flow_runs(flow_run_filter=named)
            # Other tests run the study of this name too, from files of their own.
            here = [run for run in runs if run.parameters["study"] == str(recorded.study)]
            run = min(here, key=lambda each: each.start_time)
            tasks = await client.read_task_runs(flow_run_filter=named)
            names = [each.name for each in tasks if each.flow_run_id == run.id]
            artifacts = await client.read_artifacts(flow_run_filter=named)
            mine = [each for each in artifacts if each.flow_run_id == run.id]
            return run, names, {each.key: each.type for each in mine}

    run, tasks, artifacts = asyncio.run(look())
    assert run.state.name == "Recorded"
    assert "5 effects" in run.state.message
    assert sorted(name.rpartition("-")[0] for name in tasks) == [
        "crossfit", "estimate", "features", "register", "resolve",
    ]  # fmt: skip
    assert artifacts == {"effects-coupons": "table", "verdict-coupons": "markdown"}


def test_a_second_run_adds_nothing_and_needs_no_server(recorded: Recorded) -> None:
    before = {name: len(recorded.rows(name)) for name in ("effects", "checks", "stages", "cells")}
    again = recorded.run(
        "run", str(recorded.study), "--window", WINDOW, "--json", PREFECT_API_URL=""
    )
    first = recorded.first.object
    assert again.code == 0, again.err
    assert again.object["status"] == "already_recorded"
    assert [stage["status"] for stage in again.object["stages"]] == ["computed", *["reused"] * 4]
    for same in ("run_key", "effects_digest", "mlflow", "effects", "checks", "gates"):
        assert again.object[same] == first[same]
    assert {name: len(recorded.rows(name)) for name in before} == before
    assert not (recorded.home / "prefect" / "prefect.db").exists(), "a temporary server was started"


@pytest.mark.slow
def test_with_a_server_the_flow_says_already_recorded(recorded: Recorded) -> None:
    again = recorded.run(*recorded.command, "--json")
    assert again.object["status"] == "already_recorded"
    assert again.object["mlflow"] == recorded.first.object["mlflow"]


def test_recompute_computes_compares_and_writes_nothing(recorded: Recorded) -> None:
    before = {name: recorded.rows(name) for name in ("effects", "stages", "cells", "tallies")}
    again = recorded.run(*recorded.command, "--recompute", "--json")
    assert again.code == 0, again.err
    assert again.object["status"] == "computed"
    assert again.object["effects_digest"] == recorded.first.object["effects_digest"]
    stages = {stage["name"]: stage["status"] for stage in again.object["stages"]}
    assert (stages["crossfit"], stages["estimate"]) == ("computed", "computed")
    assert {name: recorded.rows(name) for name in before} == before


def test_text_for_a_reader(recorded: Recorded) -> None:
    shown = recorded.run(*recorded.command, PREFECT_API_URL="")
    assert shown.code == 0
    assert f"coupons {WINDOW}: already_recorded: 5 effects" in shown.out
    assert recorded.first.object["run_key"] in shown.out


def test_a_failed_gate_is_8_under_strict_and_recorded_all_the_same(
    recorded: Recorded,
) -> None:
    gate = 'publish: {gates: {"irm.*": {overlap.ess_share: ">= 0.999"}}}\n'
    gated = write_study(recorded.study.parent / "gated", STUDY + gate)
    lenient = recorded.run("run", str(gated), "--window", WINDOW, "--json", PREFECT_API_URL="")
    assert lenient.code == 0, lenient.err
    failed = ["irm.ate.coupon.spend:overlap.ess_share"]
    assert set(failed) <= set(lenient.object["gates"]["failed"])
    strict = recorded.run(
        "run", str(gated), "--window", WINDOW, "--strict", "--json", PREFECT_API_URL=""
    )
    assert strict.code == 8
    assert strict.object["error"]["code"] == "gate_failed"
    assert strict.object["status"] == "already_recorded", "gates enter no key"
    assert strict.object["run_key"] == recorded.first.object["run_key"]


def test_a_window_that_is_not_over_is_75(recorded: Recorded) -> None:
    early = recorded.run("run", str(recorded.study), "--window", "2190-01", "--json")
    assert early.code == 75
    assert early.object["status"] == "not_mature"
    assert early.object["error"]["code"] == "not_mature"
    assert early.object["error"]["retryable"] is False
    assert early.object["stages"][1]["status"] == "not_run"
    assert "2190-02-01" in early.err


def test_broken_data_fail_once_with_4_and_leave_nothing(recorded: Recorded) -> None:
    before = recorded.rows("stages")
    twice = STUDY.replace(
        "FROM orders", "FROM (SELECT * FROM orders UNION ALL SELECT * FROM orders)"
    )
    bad = write_study(recorded.study.parent / "bad", twice)
    ran = recorded.run("run", str(bad), "--window", WINDOW, "--json")
    assert ran.code == 4, ran.err
    assert ran.object["status"] == "failed"
    assert ran.object["error"]["type"] == "ContractError"
    assert ran.object["error"]["code"] == "duplicate_ids"
    assert [stage["status"] for stage in ran.object["stages"]] == ["computed", *["not_run"] * 4]
    assert recorded.rows("stages") == before
