"""Alerts as events of a real Prefect server."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.registry.review import PROMOTED, Ruling, decide
from pipelines.alerting import tell
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.review_sample import ATE

pytestmark = pytest.mark.engines


def events(address: str, name: str) -> list[dict[str, Any]]:
    """Events of a name that the server knows."""
    wanted = {"filter": {"event": {"name": [name]}}, "limit": 50}
    answer = httpx.post(f"{address}/events/filter", json=wanted, timeout=30)
    answer.raise_for_status()
    found = answer.json()["events"]
    assert isinstance(found, list)
    return found


def awaited(address: str, name: str, count: int) -> list[dict[str, Any]]:
    """Events of a name, as many as were sent: the client sends them and the server stores them
    in their own time.
    """
    from prefect.events.worker import EventsWorker

    EventsWorker.instance().wait_until_empty()
    deadline = time.monotonic() + 60
    while len(found := events(address, name)) < count and time.monotonic() < deadline:
        time.sleep(1)
    assert len(found) == count
    assert {each["resource"]["prefect.resource.id"] for each in found} == {
        "causeway.study.rain_delays"
    }
    return found


def test_failed_gates_are_events_once(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    monkeypatch.delenv("CAUSEWAY_WEBHOOK_URL", raising=False)
    loaded = sample.study()
    sample.record(tmp_path, "2013-03", loaded=loaded)
    now = datetime(2013, 4, 1, tzinfo=UTC)
    told = tell(sample.profile(tmp_path), loaded.study, now)
    assert {each.kind for each in told.alerts} == {"gates_failed"}
    assert tell(sample.profile(tmp_path), loaded.study, now).alerts == ()
    found = awaited(prefect_server, "causeway.gates_failed", len(told.alerts))
    payload = found[0]["payload"]
    assert payload["schema"] == "causeway.alert/1"
    assert payload["facts"]["gates_failed"] == ["attrition.gap"]


def test_drift_and_a_missed_schedule_are_events(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    monkeypatch.delenv("CAUSEWAY_WEBHOOK_URL", raising=False)
    monthly = {"cron": "0 3 2 * *", "timezone": "America/New_York"}
    loaded = windows.study({"gates": {}}, schedule=monthly)
    place = sample.profile(tmp_path)
    windows.record(tmp_path, "2013-01", loaded=loaded)
    decide(place, loaded.study, Ruling(ATE, PROMOTED, "good", "Ada"))
    windows.record(tmp_path, "2013-03", loaded=loaded, shift=60.0)
    told = tell(place, loaded.study, datetime(2013, 5, 2, 14, tzinfo=UTC))
    assert sorted(each.kind for each in told.alerts) == ["drift", "missed_schedule"]
    (drift,) = awaited(prefect_server, "causeway.drift", 1)
    assert drift["payload"]["window"] == "2013-03"
    assert drift["payload"]["facts"]["p_value"] < 1e-6
    (missed,) = awaited(prefect_server, "causeway.missed_schedule", 1)
    assert missed["payload"]["window"] == "2013-04"
    assert missed["payload"]["facts"]["due"] == "2013-05-02 07:00 UTC"
