"""Alerts, told once, to a real HTTP server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from estimators.errors import PlatformError
from jobs.registry.alerts import Alert, deliver, look, queue, to_webhook
from jobs.registry.review import PROMOTED, Ruling, decide
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.review_sample import ATE

PLANTED = "T0KEN-5ecret-path"

MONTHLY = {"cron": "0 3 2 * *", "timezone": "America/New_York"}


@dataclass
class Hook:
    """A webhook: what it got, and what it answers."""

    address: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    state = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.paths.append(self.path)
            if state.status == 200:
                state.got.append(json.loads(body))
            self.send_response(state.status)
            if state.status == 302:
                self.send_header("Location", f"{state.address}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}/{PLANTED}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def alert(number: int = 0) -> Alert:
    return Alert("gates_failed", "rain_delays", "2013-03", "it failed", f"{number:064d}")


def test_failed_gates_of_the_newest_window_are_told(tmp_path: Path) -> None:
    loaded = sample.study()
    sample.record(tmp_path, "2013-02", loaded=loaded)
    recorded = sample.record(tmp_path, "2013-03", loaded=loaded)
    found = look(sample.profile(tmp_path), loaded.study, datetime(2013, 4, 1, tzinfo=UTC))
    gates = [each for each in found if each.kind == "gates_failed"]
    assert {each.window for each in gates} == {"2013-03"}
    (ate,) = [each for each in gates if each.facts["effect_id"] == ATE]
    assert ate.facts["run_key"] == recorded.run_key
    assert "attrition.gap" in ate.message


def test_drift_is_told_by_its_gate_or_by_a_strict_level_of_its_own(tmp_path: Path) -> None:
    loaded = windows.study({"gates": {}})
    windows.record(tmp_path, "2013-01", loaded=loaded)
    place = sample.profile(tmp_path)
    decide(place, loaded.study, Ruling(ATE, PROMOTED, "good", "Ada"))
    windows.record(tmp_path, "2013-02", loaded=loaded)
    now = datetime(2013, 4, 1, tzinfo=UTC)
    assert look(place, loaded.study, now) == [], "a month like the other"
    windows.record(tmp_path, "2013-03", loaded=loaded, shift=60.0)
    (drift,) = look(place, loaded.study, now)
    assert (drift.kind, drift.window) == ("drift", "2013-03")
    assert drift.facts["p_value"] < 1e-6
    assert ATE in drift.message


@pytest.mark.parametrize(
    ("now", "missed"),
    [
        ("2013-04-02T06:00", None),
        ("2013-04-02T14:00", "2013-03"),
        ("2013-04-01T12:00", None),
        ("2013-05-02T14:00", "2013-04"),
    ],
)
def test_a_schedule_is_missed_some_hours_after_it_was_due(
    tmp_path: Path, now: str, missed: str | None
) -> None:
    loaded = windows.study({"gates": {}}, schedule=MONTHLY)
    windows.record(tmp_path, "2013-02", loaded=loaded)
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = look(sample.profile(tmp_path), loaded.study, moment)
    assert [each.window for each in found] == ([missed] if missed else [])
    assert {each.kind for each in found} <= {"missed_schedule"}


def test_a_window_that_was_not_mature_when_the_schedule_fired_is_not_missed(
    tmp_path: Path,
) -> None:
    early = {"cron": "0 3 1 * *", "timezone": "America/New_York"}  # three hours into the horizon
    loaded = windows.study({"gates": {}}, schedule=early)
    windows.record(tmp_path, "2013-02", loaded=loaded)
    moment = datetime(2013, 4, 20, tzinfo=UTC)
    assert look(sample.profile(tmp_path), loaded.study, moment) == []


def test_an_alert_is_told_once(tmp_path: Path, hook: Hook) -> None:
    place = sample.profile(tmp_path)
    assert queue(place, [alert(), alert()]) != []
    assert [each.key for each in deliver(place, to_webhook(hook.address)).sent] == [alert().key]
    assert queue(place, [alert()]) == []
    assert deliver(place, to_webhook(hook.address)).sent == ()
    (got,) = hook.got
    assert got["schema"] == "causeway.alert/1"
    assert got["text"] == "rain_delays 2013-03: it failed"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_the_webhook_does_not_take_waits(tmp_path: Path, hook: Hook, status: int) -> None:
    place = sample.profile(tmp_path)
    queue(place, [alert(1), alert(2)])
    hook.status = status
    refused = deliver(place, to_webhook(hook.address))
    assert (refused.sent, refused.waiting) == ((), 2)
    assert str(status) in refused.problem
    assert hook.paths == [f"/{PLANTED}"], "no redirect is followed"
    hook.status = 200
    assert len(deliver(place, to_webhook(hook.address)).sent) == 2


def test_no_word_of_the_address_is_written_or_said(tmp_path: Path, hook: Hook) -> None:
    place = sample.profile(tmp_path)
    queue(place, [alert()])
    hook.status = 500
    said = [deliver(place, to_webhook(hook.address)).problem]
    said.append(deliver(place, to_webhook(f"http://127.0.0.1:1/{PLANTED}")).problem)
    for address in (f"ftp://host/{PLANTED}", f"file:///{PLANTED}", PLANTED):
        with pytest.raises(PlatformError) as caught:
            to_webhook(address)
        said.append(str(caught.value))
    assert all(said)
    assert not any(PLANTED in text for text in said)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(PLANTED.encode() in path.read_bytes() for path in files)


def test_old_alerts_are_forgotten(tmp_path: Path, hook: Hook) -> None:
    place = sample.profile(tmp_path)
    queue(place, [alert()])
    deliver(place, to_webhook(hook.address))
    sent = tmp_path / "alerts" / "sent"
    assert len(list(sent.iterdir())) == 1
    deliver(place, to_webhook(hook.address), datetime.now(UTC) + timedelta(days=500))
    assert list(sent.iterdir()) == []
