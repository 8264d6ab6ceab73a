"""Backfills on a real Prefect server, and with a real Spark in a process of their own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.lake import read_record
from tests.jobs import prebuilt
from tests.pipelines.command import causeway_in

pytestmark = pytest.mark.engines


@pytest.mark.slow
def test_prefect_shows_a_sub_flow_a_window_and_one_table(
    tmp_path: Path, prefect_server: str
) -> None:
    home = tmp_path / "home"
    prebuilt.write_lake(home)
    study = prebuilt.write_study(tmp_path)
    prebuilt.prebuild(study, prebuilt.MONTHS[1:], prebuilt.place(home))
    causeway = causeway_in(tmp_path, home, PREFECT_API_URL=prefect_server)
    command = ("backfill", str(study), "--from", "2024-02", "--to", "2024-04", "--parallel", "2")
    began = datetime.now(UTC)
    ran = causeway(*command, "--json")
    assert ran.code == 75, ran.err
    assert ran.object["summary"] == {
        "computed": 2, "already_recorded": 0, "not_mature": 1, "failed": 0,
    }  # fmt: skip
    parent, windows, table = asyncio.run(_shown(began))
    assert parent.name == "orders 2024-02..2024-04"
    assert parent.state.name == "NotMature"
    assert windows == {"2024-02": "Recorded", "2024-03": "Recorded", "2024-04": "NotMature"}
    assert [row["window"] for row in table] == ["2024-02", "2024-03", "2024-04"]
    assert [row["status"] for row in table] == ["computed", "computed", "not mature"]
    alone = causeway(*command, "--json", PREFECT_API_URL="")
    assert alone.code == 75, alone.err
    assert _digests(alone.object) == _digests(ran.object), "the same without a server"


def _digests(found: dict[str, Any]) -> list[str | None]:
    return [each["effects_digest"] for each in found["windows"]]


async def _shown(began: datetime) -> tuple[Any, dict[str, str], list[dict[str, Any]]]:
    """The flow runs that began since, and the table: other tests use this server too."""
    import json

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    async with get_client() as client:

        async def runs(flow: str) -> list[Any]:
            named = FlowFilter(name=FlowFilterName(any_=[flow]))
            found = await client.read_flow_runs(flow_filter=named)
            return [each for each in found if each.created >= began]

        (parent,) = await runs("backfill")
        windows = await runs("backfill_window")
        parents = {
            (await client.read_task_run(each.parent_task_run_id)).flow_run_id for each in windows
        }
        assert parents == {parent.id}
        artifacts = await client.read_artifacts()
        mine = [each for each in artifacts if each.flow_run_id == parent.id]
        (table,) = [json.loads(each.data) for each in mine if each.key == "backfill-orders"]
        return parent, {each.name: each.state.name for each in windows}, table


@pytest.mark.slow
def test_with_a_real_spark_it_equals_single_runs_and_every_run_is_reproduced(
    tmp_path: Path,
) -> None:
    home, single = tmp_path / "home", tmp_path / "single"
    prebuilt.write_lake(home)
    study = prebuilt.write_study(tmp_path)
    causeway = causeway_in(tmp_path, home)
    ran = causeway("backfill", str(study), "--from", "2024-01", "--to", "2024-02", "--json")
    assert ran.code == 0, ran.err
    assert ran.err.count("starting Spark") <= 2, "one Spark for both"
    single.mkdir()
    (single / "lake").symlink_to(home / "lake")
    alone = causeway_in(tmp_path, single)
    last = alone("backfill", str(study), "--from", "2024-02", "--to", "2024-02", "--json")
    assert last.object["windows"][0]["effects_digest"] == _digests(ran.object)[1]
    assert last.object["windows"][0]["run_key"] == ran.object["windows"][1]["run_key"]
    before = read_record(f"{home}/record", "stages").num_rows
    prebuilt.write_month(home, "2024-04")
    again = causeway("reproduce", ran.object["windows"][0]["run_key"], "--json")
    assert again.code == 0, again.err
    assert again.object["started_from"] == "sources"
    assert [(each["name"], each["agrees"]) for each in again.object["stages"]] == [
        ("features", True), ("crossfit", True), ("estimate", True),
    ]  # fmt: skip
    assert read_record(f"{home}/record", "stages").num_rows == before
    assert not [*(home / "tmp").glob("reproduce-*")]
