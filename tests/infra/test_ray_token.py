"""Ray as its unit starts it: with the token of `ray.env` one may drive it, without none."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.machine import Machine, installed

pytestmark = [pytest.mark.slow, pytest.mark.engines, pytest.mark.timeout(600)]

DRIVER = """\
import json, os
from conf.profile import load_profile
from estimators.errors import PlatformError
from jobs.engines import ray_cluster

def uid(): return os.geteuid()

try:
    with ray_cluster(load_profile()):
        import ray
        found = {"uid": ray.get(ray.remote(uid).remote()), "nodes": len(ray.nodes())}
except PlatformError as error:
    found = error.as_dict()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with installed() as found:
        found.start("ray", "--num-cpus=1", "--object-store-memory=80000000")
        deadline = time.monotonic() + 240
        while "code" in (told := driven(found)):  # as long as Ray is not up
            assert time.monotonic() < deadline, told
            time.sleep(1)
        yield found


def driven(machine: Machine, **settings: str) -> dict[str, Any]:
    """What a driver in a process of its own has to say."""
    done = machine.run(sys.executable, "-c", DRIVER, **settings)
    assert done.returncode == 0, done.stderr
    assert machine.settings("ray")["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_a_driver_needs_the_token(machine: Machine) -> None:
    found = driven(machine)
    assert found["nodes"] == 1
    assert found["uid"] != 0
    for token in ("", "another-token-of-the-same-length-as-the-right-one"):
        refused = driven(machine, RAY_AUTH_TOKEN=token)
        assert refused["code"] == "ray_start"
        assert "RAY_AUTH_TOKEN" in refused["remedy"]


def test_no_log_of_ray_holds_the_token(machine: Machine) -> None:
    token = machine.settings("ray")["RAY_AUTH_TOKEN"].encode()
    files = [path for path in (machine.state / "ray").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in [*files, machine.folder / "ray.log"]:
        assert token not in path.read_bytes(), path
