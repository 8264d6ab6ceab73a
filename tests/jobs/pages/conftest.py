"""Recorded windows that several pages are drawn from."""

from __future__ import annotations

import pytest

from jobs.pages.evidence import Evidence
from tests.jobs import record_sample as sample


@pytest.fixture(scope="module")
def march(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The last of three recorded months."""
    home = tmp_path_factory.mktemp("record")
    for label in sample.LABELS:
        recorded = sample.record(home, label)
    return sample.evidence(recorded)
