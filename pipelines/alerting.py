"""Where alerts go: the webhook that the environment names, and Prefect's events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from conf.profile import Profile, prefect_server, webhook
from conf.study import Study
from jobs.registry.alerts import Alert, Take, deliver, look, queue, to_webhook


@dataclass(frozen=True, slots=True)
class Told:
    """What a look at a study found that was new, and what waits for its webhook."""

    study: str
    alerts: tuple[Alert, ...]
    waiting: int = 0
    problem: str = ""


def tell(place: Profile, study: Study, now: datetime | None = None) -> Told:
    """Look at a study and tell what is new: gates, drift, a missed schedule.

    Without a webhook and a Prefect server nothing is kept: what there is to say is returned.
    A webhook that does not answer is no error; its alerts wait for the next look.
    """
    moment = now or datetime.now(UTC)
    found = look(place, study, moment)
    take = _take()
    if take is None:
        return Told(study.study, tuple(found))
    fresh = queue(place, found)
    delivered = deliver(place, take, moment)
    return Told(study.study, tuple(fresh), delivered.waiting, delivered.problem)


def _take() -> Take | None:
    """The channels that the environment names; an alert is taken when the webhook took it."""
    address, server = webhook(), prefect_server()
    post = to_webhook(address) if address else None
    if not server:
        return post

    def both(alert: Alert) -> str:
        problem = post(alert) if post else ""
        if not problem:
            emit(alert)
        return problem

    return both


def emit(alert: Alert) -> None:
    """Tell Prefect: automations may act on ``causeway.gates_failed`` and its kin."""
    from prefect.events import emit_event

    emit_event(
        event=f"causeway.{alert.kind}",
        resource={
            "prefect.resource.id": f"causeway.study.{alert.study}",
            "prefect.resource.name": alert.study,
        },
        payload=alert.as_dict(),
    )
