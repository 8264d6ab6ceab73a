"""The settings that our server, the documents and the unit give are ones that Prefect obeys."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.ui import _PREFECT
from tests.infra.machine import SERVICES

DOCUMENT = Path(__file__).parents[2] / "infra" / "schedules" / "README.md"
PREFIX = "PREFECT_SERVER_SERVICES_DB_VACUUM_"


LEASES = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"


def documented() -> dict[str, str]:
    return dict(re.findall(r"^export (\w+)=(\S+)", DOCUMENT.read_text(), re.MULTILINE))


def of_the_unit() -> dict[str, str]:
    text = (SERVICES / "causeway-prefect.service").read_text()
    return dict(re.findall(r"^Environment=(\w+)=(\S+)", text, re.MULTILINE))


GIVEN = pytest.mark.parametrize(
    "given", [_PREFECT, documented(), of_the_unit()], ids=["ui", "documented", "unit"]
)


@GIVEN
def test_old_runs_their_logs_and_artifacts_are_removed(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    monkeypatch.delenv(f"{PREFIX}ENABLED", raising=False)
    default = ServerServicesDBVacuumSettings().enabled_vacuum_types
    assert "flow_runs" not in default, "Prefect does it by itself now"
    for name, value in given.items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    settings = ServerServicesDBVacuumSettings()
    assert settings.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert settings.retention_period == timedelta(days=90)


@GIVEN
def test_leases_outlive_a_restart(given: dict[str, str]) -> None:
    from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage
    from prefect.server.concurrency.lease_storage.filesystem import ConcurrencyLeaseStorage
    from prefect.settings import PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE, temporary_settings

    with temporary_settings({PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE: given[LEASES]}):
        assert isinstance(get_concurrency_lease_storage(), ConcurrencyLeaseStorage)
