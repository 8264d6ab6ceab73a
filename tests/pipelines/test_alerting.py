"""Alerts as events of a real Prefect server."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.alerting import tell
from tests.jobs import record_sample as sample

pytestmark = pytest.mark.engines


def events(address: str, name: str) -> list[dict[str, Any]]:
    """Events of a name that the server knows."""
    wanted = {"filter": {"event": {"name": [name]}}, "limit": 50}
    answer = httpx.post(f"{address}/events/filter", json=wanted, timeout=30)
    answer.raise_for_status()
    found = answer.json()["events"]
    assert isinstance(found, list)
    return found


def test_failed_gates_are_events_once(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.events.worker import EventsWorker

    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    monkeypatch.delenv("CAUSEWAY_WEBHOOK_URL", raising=False)
    loaded = sample.study()
    sample.record(tmp_path, "2013-03", loaded=loaded)
    now = datetime(2013, 4, 1, tzinfo=UTC)
    told = tell(sample.profile(tmp_path), loaded.study, now)
    assert {each.kind for each in told.alerts} == {"gates_failed"}
    assert tell(sample.profile(tmp_path), loaded.study, now).alerts == ()
    EventsWorker.instance().wait_until_empty()
    deadline = time.monotonic() + 60
    found = events(prefect_server, "causeway.gates_failed")
    while len(found) < len(told.alerts) and time.monotonic() < deadline:
        time.sleep(1)
        found = events(prefect_server, "causeway.gates_failed")
    assert len(found) == len(told.alerts)
    assert {each["resource"]["prefect.resource.id"] for each in found} == {
        "causeway.study.rain_delays"
    }
    payload = found[0]["payload"]
    assert payload["schema"] == "causeway.alert/1"
    assert payload["facts"]["gates_failed"] == ["attrition.gap"]
