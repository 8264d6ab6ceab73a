"""Alerts: failed gates, drift and missed schedules of a study, told once each.

What there is to say follows from the record, so that looking twice says nothing new. An alert lies
in an outbox under the home until the webhook took it: one that is down loses none. The webhook's
address is a secret: it stands in no message, file or error.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from conf.cron import last_fire
from conf.plan import effect_specs
from conf.profile import Profile
from conf.study import Study
from conf.windows import duration, every, last_before, zone
from estimators.errors import PlatformError
from jobs.pages import wording
from jobs.registry.standing import Judged, Register, read_register

Kind = Literal["gates_failed", "drift", "missed_schedule"]

GRACE = timedelta(hours=6)
"""A schedule is missed where its window is not recorded so long after it fell due."""
LEVEL = 0.01
"""Drift without a gate of its own: this level, divided by the number of effects that are tested."""

_TIMEOUT = 10.0
_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody should know.

    Attributes
    ----------
    key
        What it is about; an alert of the same key is never sent twice.
    """

    kind: Kind
    study: str
    window: str
    message: str
    key: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """``causeway.alert/1``; `text` is what chat services show."""
        found = {"schema": "causeway.alert/1", **asdict(self)}
        return found | {"text": f"{self.study} {self.window}: {self.message}"}


Take = Callable[[Alert], str]
"""Takes an alert; what went wrong, empty where nothing did."""


def look(profile: Profile, study: Study, now: datetime) -> list[Alert]:
    """What there is to say of a study: of the newest run of each effect, and of its schedule."""
    known = read_register(profile.record_root, study)
    newest = list(_newest(known))
    tested = [each for each in newest if each.against is not None and each.against.drift]
    found = [alert for each in newest if (alert := _gates(study, each))]
    found += [alert for each in tested if (alert := _drift(study, each, LEVEL / len(tested)))]
    missed = _missed(known, now)
    return [*found, missed] if missed else found


def _newest(known: Register) -> Iterator[Judged]:
    """The newest run of each effect of the study that is open for decision."""
    for spec in effect_specs(known.study):
        standing = known.standing(spec.effect_id)
        shown = standing.refused[0] if standing.refused else standing.candidate
        if shown is not None:
            yield shown


def _gates(study: Study, judged: Judged) -> Alert | None:
    failed = judged.verdict.gates_failed
    if not failed:
        return None
    effect = str(judged.row["effect_id"])
    return Alert(
        "gates_failed",
        study.study,
        judged.span.label,
        f"{effect} failed its gates: {', '.join(failed)}; {wording.interval(judged.row)}",
        _key("gates", judged.run_key, effect, *failed),
        {"effect_id": effect, "run_key": judged.run_key, "gates_failed": list(failed)},
    )


def _drift(study: Study, judged: Judged, level: float) -> Alert | None:
    against = judged.against
    if against is None or against.drift is None:
        return None
    gated = any(name.startswith("drift.") for name in judged.verdict.gates_failed)
    if not gated and against.drift.p_value >= level:
        return None
    effect, found = str(judged.row["effect_id"]), against.drift
    moved = wording.signed(found.difference, wording.decimals(found.se))
    return Alert(
        "drift",
        study.study,
        judged.span.label,
        f"{effect} moved by {moved} since the champion (z {found.z:.1f})",
        _key("drift", judged.run_key, effect, against.then),
        {
            "effect_id": effect,
            "run_key": judged.run_key,
            "champion": against.then,
            "difference": found.difference,
            "p_value": found.p_value,
        },
    )


def _missed(known: Register, now: datetime) -> Alert | None:
    """The last window that was due and mature when the schedule fired, if it is not recorded."""
    study = known.study
    if study.schedule is None:
        return None
    place = zone(study.schedule.timezone)
    fired = last_fire(study.schedule.cron, place, now - GRACE)
    if fired is None:
        return None
    if every(study.window.every) is None:
        label, recorded = "all", bool(known.rows)
    else:
        horizon = max(duration(each.horizon) for each in study.outcomes.values())
        span = last_before(fired - horizon, study.window)
        label = span.label
        recorded = any(
            (row["window_start"], row["window_end"]) == (span.start, span.end)
            for rows in known.rows.values()
            for row in rows
        )
    if recorded:
        return None
    due = f"{fired:%Y-%m-%d %H:%M} UTC"
    return Alert(
        "missed_schedule",
        study.study,
        label,
        f"was due at {due} and is not recorded",
        _key("missed", study.study, label),
        {"due": due, "cron": study.schedule.cron},
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Delivered:
    """What went out, and what waits because the webhook did not take it.

    Attributes
    ----------
    problem
        What went wrong, without the address.
    """

    sent: tuple[Alert, ...]
    waiting: int
    problem: str = ""


def queue(profile: Profile, alerts: Sequence[Alert]) -> list[Alert]:
    """Put alerts that were never told into the outbox; returns those."""
    with _outbox(profile) as (pending, sent):
        fresh = [
            each
            for each in alerts
            if not any(Path(box, f"{each.key}.json").exists() for box in (pending, sent))
        ]
        for each in fresh:
            draft = Path(pending, f"{each.key}.draft")
            draft.write_text(json.dumps(asdict(each)), encoding="utf-8")
            os.replace(draft, draft.with_suffix(".json"))
    return fresh


def deliver(profile: Profile, take: Take, now: datetime | None = None) -> Delivered:
    """Hand over what lies in the outbox, the oldest first; what is not taken stays.

    A process that dies between taking and noting it tells an alert twice, never not at all.
    """
    done: list[Alert] = []
    with _outbox(profile) as (pending, sent):
        _forget(sent, now or datetime.now(UTC))
        files = sorted(pending.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for file in files:
            alert = Alert(**json.loads(file.read_text(encoding="utf-8")))
            problem = take(alert)
            if problem:
                return Delivered(tuple(done), len(files) - len(done), problem)
            os.replace(file, sent / file.name)
            done.append(alert)
    return Delivered(tuple(done), 0)


def to_webhook(address: str) -> Take:
    """Take alerts to a webhook.

    Raises
    ------
    PlatformError
        The address is no http(s) address (``bad_webhook``).
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PlatformError(
            "the webhook's address is no http or https address",
            code="bad_webhook",
            remedy="set CAUSEWAY_WEBHOOK_URL to the whole address; it is never shown",
        )
    return lambda alert: _post(address, alert)


@contextmanager
def _outbox(profile: Profile) -> Iterator[tuple[Path, Path]]:
    """Folders of alerts that wait and that were sent, held alone."""
    root = profile.home / "alerts"
    pending, sent = root / "pending", root / "sent"
    for each in (pending, sent):
        each.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield pending, sent


def _forget(sent: Path, now: datetime) -> None:
    """Old alerts go; a file's time is that of its sending."""
    for file in sent.glob("*.json"):
        if datetime.fromtimestamp(file.stat().st_mtime, UTC) < now - _KEPT:
            file.unlink(missing_ok=True)


class _Stay(urllib.request.HTTPRedirectHandler):
    """No redirects: the next address would get what was meant for this one."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""


def _post(address: str, alert: Alert) -> str:
    """Post one alert; what went wrong, empty where nothing did. Never the address."""
    request = urllib.request.Request(  # noqa: S310 (the scheme was checked)
        address,
        json.dumps(alert.as_dict()).encode(),
        {"Content-Type": "application/json", "User-Agent": "causeway"},
    )
    host = urlsplit(address).hostname
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=_TIMEOUT):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"the webhook at {host} answered {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"the webhook at {host} cannot be reached ({type(error).__name__})"
