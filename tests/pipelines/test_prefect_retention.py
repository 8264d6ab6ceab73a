"""The settings that keep Prefect's database small are ones that the installed Prefect obeys."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.ui import _PREFECT

DOCUMENT = Path(__file__).parents[2] / "infra" / "schedules" / "README.md"
PREFIX = "PREFECT_SERVER_SERVICES_DB_VACUUM_"


def documented() -> dict[str, str]:
    return dict(re.findall(rf"^export ({PREFIX}\w+)=(\S+)", DOCUMENT.read_text(), re.MULTILINE))


@pytest.mark.parametrize("given", [_PREFECT, documented()], ids=["ui", "documented"])
def test_old_runs_their_logs_and_artifacts_are_removed(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    monkeypatch.delenv(f"{PREFIX}ENABLED", raising=False)
    default = ServerServicesDBVacuumSettings().enabled_vacuum_types
    assert "flow_runs" not in default, "Prefect does it by itself now"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = ServerServicesDBVacuumSettings()
    assert settings.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert settings.retention_period == timedelta(days=90)
