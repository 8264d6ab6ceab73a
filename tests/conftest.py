"""Engines shared by all tests: each starts once a session, when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from conf.profile import Profile, Spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The Spark that code under test finds running, and so uses and leaves alone."""
    from jobs.engines import spark_session

    home = tmp_path_factory.mktemp("spark-home")
    profile = Profile(name="tests", home=home, spark=Spark(master="local[2]", memory="1g"))
    with spark_session(profile, "tests") as session:
        yield session
