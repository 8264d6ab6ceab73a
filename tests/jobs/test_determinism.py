"""The contract: equal rows give equal bytes, whatever the engines do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conf.load import load_study
from conf.profile import Profile, load_profile
from conf.windows import parse_span
from jobs import crossfit, estimate, features
from jobs.estimate import effects_digest, read_effects
from jobs.resolve import resolve
from tests.jobs import visits

pytestmark = pytest.mark.engines


def place(home: Path, *, partitions: int = 4, inline: bool = True, cpus: int = 2) -> Profile:
    base = load_profile("local")
    settings = {"spark.sql.shuffle.partitions": str(partitions)}
    return base.model_copy(
        update={
            "home": home,
            "engines": "together",  # the session's Spark and Ray stay
            "spark": base.spark.model_copy(update={"settings": settings}),
            "ray": base.ray.model_copy(
                update={"inline_below": 10**9 if inline else 0, "num_cpus": cpus}
            ),
        }
    )


def run(study: Path, profile: Profile, window: str = "2024-02") -> tuple[str, str, str]:
    loaded = load_study(str(study))
    resolved = resolve(loaded, parse_span(window, loaded.study.window), profile)
    built = features.build(resolved, profile)
    fitted = crossfit.run(resolved, built, profile)
    found = estimate.run(resolved, fitted, profile)
    return built.digest, fitted.digest, found.digest


@pytest.fixture(scope="module")
def expected(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    home = tmp_path_factory.mktemp("expected")
    study = visits.write(home)
    return home, run(study, place(home))


@pytest.mark.parametrize("partitions", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_partitions_and_order_of_rows_change_nothing(
    spark: Any, tmp_path: Path, expected: tuple[Path, tuple[str, ...]], partitions: int
) -> None:
    study = visits.write(tmp_path, shuffled=partitions)
    spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
    try:
        assert run(study, place(tmp_path, partitions=partitions)) == expected[1]
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", "4")


def test_ray_gives_the_bytes_of_inline(
    spark: Any, tmp_path: Path, expected: tuple[Path, tuple[str, ...]], ray_session: Any
) -> None:
    study = visits.write(tmp_path)
    assert run(study, place(tmp_path, inline=False)) == expected[1]


@pytest.mark.slow
def test_one_worker_gives_the_bytes_of_two(
    spark: Any, tmp_path: Path, expected: tuple[Path, tuple[str, ...]]
) -> None:
    study = visits.write(tmp_path)
    assert run(study, place(tmp_path, cpus=1)) == expected[1]


def test_a_copied_home_finds_its_record(
    spark: Any, tmp_path: Path, expected: tuple[Path, tuple[str, ...]]
) -> None:
    home, digests = expected
    copy = tmp_path / "moved"
    shutil.copytree(home, copy)
    loaded = load_study(str(copy / "visits.yaml"))
    profile = place(copy)
    resolved = resolve(loaded, parse_span("2024-02", loaded.study.window), profile)
    built = features.build(resolved, profile)
    fitted = crossfit.run(resolved, built, profile)
    found = estimate.run(resolved, fitted, profile)
    assert {built.status, fitted.status, found.status} == {"reused"}
    assert (built.digest, fitted.digest, found.digest) == digests


def test_the_record_holds_what_the_digest_says(expected: tuple[Path, tuple[str, ...]]) -> None:
    home, digests = expected
    loaded = load_study(str(home / "visits.yaml"))
    profile = place(home)
    resolved = resolve(loaded, parse_span("2024-02", loaded.study.window), profile)
    built = features.build(resolved, profile)
    found = estimate.run(resolved, crossfit.run(resolved, built, profile), profile)
    assert effects_digest(read_effects(profile.record_root, found.key)) == digests[2]


def test_computing_again_writes_nothing_and_agrees(
    spark: Any, expected: tuple[Path, tuple[str, ...]]
) -> None:
    home, digests = expected
    loaded = load_study(str(home / "visits.yaml"))
    profile = place(home)
    resolved = resolve(loaded, parse_span("2024-02", loaded.study.window), profile)
    built = features.build(resolved, profile)
    before = sorted(path.name for path in home.rglob("*.json"))
    again = crossfit.run(resolved, built, profile, recompute=True)
    assert again.digest == digests[1]
    assert estimate.run(resolved, again, profile, recompute=True).digest == digests[2]
    assert sorted(path.name for path in home.rglob("*.json")) == before


def test_the_effect_is_found(expected: tuple[Path, tuple[str, ...]]) -> None:
    home, _ = expected
    loaded = load_study(str(home / "visits.yaml"))
    profile = place(home)
    resolved = resolve(loaded, parse_span("2024-02", loaded.study.window), profile)
    built = features.build(resolved, profile)
    found = estimate.run(resolved, crossfit.run(resolved, built, profile), profile)
    rows = {row["effect_id"]: row for row in read_effects(profile.record_root, found.key)}
    ate = rows["irm.ate.reminder.spend"]
    assert ate["ci_low"] < 2.0 < ate["ci_high"]
    assert ate["naive"] > ate["theta"]
    assert set(rows) >= {f"irm.ate.reminder.spend@region={name}" for name in ("north", "south")}
