"""Engines shared by all tests: each starts once a session, when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conf.profile import Profile, Ray, Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_SHARED = {"spark", "ray_session"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Share tests out to two processes: one with Spark and Ray, one with Prefect and the command.

    Each of them then starts its engines once. A file without engines stays together.
    """
    name = str(item.path.relative_to(Path(__file__).parent))
    if _SHARED & set(getattr(item, "fixturenames", ())):
        name = "engines"
    elif item.get_closest_marker("engines"):
        name = "commands" if name.startswith("pipelines") else "engines"
    item.add_marker(pytest.mark.xdist_group(name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long groups first, so that the short ones fill up what is left."""
    first = ("engines", "commands")
    items.sort(key=lambda item: next(item.iter_markers("xdist_group")).args[0] not in first)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """Refuse to share tests out without their groups: every process would start every engine."""
    if node.config.getoption("dist") == "loadgroup" and not all("@" in each for each in ids):
        pytest.exit("pytest-xdist takes no groups from this pytest (pytest-xdist#1386)", 4)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The Spark that code under test finds running, and so uses and leaves alone."""
    from jobs.engines import spark_session

    home = tmp_path_factory.mktemp("spark-home")
    profile = Profile(name="tests", home=home, spark=Spark(master="local[2]", memory="1g"))
    with spark_session(profile, "tests") as session:
        yield session


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The Ray that code under test finds running, with two CPUs."""
    from jobs.engines import ray_cluster

    home = tmp_path_factory.mktemp("ray-home")
    with ray_cluster(Profile(name="tests", home=home, ray=Ray(num_cpus=2))):
        yield
