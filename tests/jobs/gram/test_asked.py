"""What is asked of a recorded study on the Gram engine: groups, and its peers."""

from __future__ import annotations

from typing import Any

import pytest

from conf.load import load_study
from estimators.errors import SourceError, UsageError
from jobs import crossfit
from jobs.estimate import read_effects
from jobs.estimate import run as run_estimate
from jobs.groups import Families
from jobs.peers.comparison import Request, compare
from tests.jobs.gram import clinic

STUDY = (
    clinic.STUDY.replace("  weight: share\n", "")
    .replace("repetitions: 2", "repetitions: 1")
    .replace("by: [ward, ward*kind]", "by: [ward]")
)
EFFECT = "plr.slope.dose.stay"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("asked")
    profile = clinic.place(home)
    file = clinic.write(home, clinic.visits(range(2), a_day=400), STUDY)
    found, built = clinic.prebuild(file, profile)
    done = run_estimate(found, crossfit.run(found, built, profile), profile)
    return profile, load_study(str(file)), done.key


def test_declared_groups_come_from_the_sums(recorded: Any) -> None:
    profile, loaded, key = recorded
    families = Families.of(profile, loaded.study)
    family = families.family(key, "ward", [EFFECT])
    assert families.groups("ward") == ["0", "1", "2"]
    stored = {row["effect_id"]: row for row in read_effects(profile.record_root, key)}
    assert len(family.ids) == 3
    for name, theta in zip(family.ids, family.solved[0].theta, strict=True):
        assert stored[name]["theta"] == theta


def test_other_groups_are_refused(recorded: Any) -> None:
    profile, loaded, key = recorded
    with pytest.raises(SourceError, match="no unit scores") as refused:
        Families.of(profile, loaded.study).family(key, "kind", [EFFECT])
    assert "declare `by:`" in str(refused.value.remedy)
    assert "keeps sums alone" in str(refused.value.remedy)


def test_peers_are_refused(recorded: Any) -> None:
    profile, loaded, _ = recorded
    with pytest.raises(UsageError, match="fits from sums"):
        compare(profile, loaded, Request(None, ("doubleml",), 200, 1))
