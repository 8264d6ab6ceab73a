"""What fails outside: MLflow, the disk, the clock, a worker, Spark. Then it is mended, and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from jobs.lake import read_record
from pipelines.backfill import backfill
from pipelines.backfill_report import Report, Request
from tests.jobs import prebuilt

pytestmark = [pytest.mark.slow, pytest.mark.engines]

FIRST, LAST = prebuilt.MONTHS[:2]


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Say nothing."""


@pytest.fixture(autouse=True)
def unsteered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CAUSEWAY_", "PREFECT_")):
            monkeypatch.delenv(name)


def featured(home: Path, folder: Path) -> Path:
    """A home whose features are there; the study's file."""
    prebuilt.write_lake(home, (FIRST, LAST))
    study = prebuilt.write_study(folder)
    prebuilt.prebuild(study, (FIRST, LAST), prebuilt.place(home))
    return study


def run(study: Path, home: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> Report:
    monkeypatch.setenv("CAUSEWAY_HOME", str(home))
    return backfill(Request(str(study), FIRST, LAST, **given), silent)


def digests(report: Report) -> list[str | None]:
    return [each.digest for each in report.ended]


def rows(home: Path, table: str) -> list[dict[str, Any]]:
    return list(read_record(f"{home}/record", table).to_pylist())


def doubled(home: Path) -> int:
    ids = Counter((row["run_key"], row["effect_id"]) for row in rows(home, "effects"))
    return max(ids.values())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str | None]:
    """What the windows' digests are where nothing fails."""
    folder = tmp_path_factory.mktemp("undisturbed")
    home = folder / "home"
    study = featured(home, folder)
    with pytest.MonkeyPatch.context() as patch:
        return digests(run(study, home, patch))


def test_mlflow_is_down_and_what_is_estimated_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str | None]
) -> None:
    home = tmp_path / "home"
    study = featured(home, tmp_path)
    profile = tmp_path / "shared.yaml"
    profile.write_text("mlflow_uri: http://127.0.0.1:1\n")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = run(study, home, monkeypatch, profile=str(profile))
    errors = [each.error for each in down.ended]
    assert [each.code for each in errors if each] == ["mlflow_store"] * 2
    assert all(each.remedy for each in errors if each)
    assert len(rows(home, "effects")) == 4, "the record does not wait for MLflow"
    again = run(study, home, monkeypatch)
    assert again.error is None
    assert digests(again) == undisturbed
    assert doubled(home) == 1
    registered = [row["key"] for row in rows(home, "stages") if row["stage"] == "register"]
    assert sorted(registered) == sorted(each.run_key or "" for each in again.ended)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a small file system: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "-l", str(place)], check=True)


def test_the_disk_is_full_and_then_it_is_not(
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: list[str | None],
) -> None:
    home = small_disk / "home"
    study = featured(home, tmp_path)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_bsize - 20_000))
    full = run(study, home, monkeypatch)
    assert {each.error.code for each in full.ended if each.error} == {"disk_full"}
    assert full.error is not None
    assert "the same command again" in full.error.remedy, "the failures could not be written"
    ballast.unlink()
    again = run(study, home, monkeypatch)
    assert again.error is None
    assert digests(again) == undisturbed
    assert doubled(home) == 1


def test_the_clock_goes_back_between_stages_and_only_recorded_at_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[str | None]
) -> None:
    home = tmp_path / "home"
    study = featured(home, tmp_path)
    asked = 0

    class Times(type):
        def __instancecheck__(cls, each: object) -> bool:
            return isinstance(each, datetime)

    class Backwards(datetime, metaclass=Times):
        """Every look at this clock is an hour earlier than the one before."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            nonlocal asked
            asked += 1
            return datetime.now(tz) - timedelta(hours=asked)

    for module in ("jobs.ledger", "jobs.estimate", "jobs.pins"):
        monkeypatch.setattr(f"{module}.datetime", Backwards)
    report = run(study, home, monkeypatch)
    assert report.error is None, [str(each.error) for each in report.ended]
    assert digests(report) == undisturbed
    assert asked > 4
    stages = {row["stage"]: row["recorded_at"] for row in rows(home, "stages")}
    assert stages["register"] < datetime.now(UTC) - timedelta(hours=1)
    again = run(study, home, monkeypatch)
    assert {each.status for each in again.ended} == {"already_recorded"}
    assert doubled(home) == 1


def with_a_kill(home: Path, victim: str, stage: str, *arguments: str) -> list[Any]:
    """Backfill in a session of its own; a process of it is killed during a stage."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.killing", victim, stage, *arguments],
        env={**os.environ, "CAUSEWAY_HOME": str(home)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=290,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert isinstance(found, list)
    return found


ROWS = "nuisances: {outcome: linear, treatment: linear}"
TREES = prebuilt.STUDY.replace(
    ROWS, "nuisances: {outcome: {learner: xgboost, n_estimators: 1500}, treatment: linear}"
)
GRAM = prebuilt.STUDY.replace(
    ROWS, "nuisances: {outcome: &gram {learner: gram, segments: 12}, treatment: *gram}"
).replace("  - {method: irm, estimand: ate}\n", "")
RAY = "ray: {num_cpus: 2, inline_below: 0}\n"
SPARK = "grams: spark\nray: {inline_below: 0}\nspark: {memory: 1g}\n"
FITS = {
    "a fit on Ray": (TREES, 240, RAY, "ray::fit_task", "crossfit"),
    "a block's sums on Ray": (GRAM, 160_000, RAY, "ray::gram_task", "crossfit"),
    "blocks' sums in Spark": (GRAM, 160_000, SPARK, "java", "crossfit/partial Grams"),
}
"""Study, units, profile, and what is killed in which stage."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", FITS.values(), ids=FITS)
def test_what_is_killed_in_a_fit_changes_nothing(
    tmp_path: Path, case: tuple[str, int, str, str, str]
) -> None:
    text, units, elsewhere, victim, stage = case
    found = {}
    for name, place in (("inline", "ray: {num_cpus: 2, inline_below: 1000000000}\n"),
                        ("elsewhere", elsewhere)):  # fmt: skip
        folder = tmp_path / name
        home = folder / "home"
        prebuilt.write_month(home, FIRST, units=units)
        study = prebuilt.write_study(folder, text)
        prebuilt.prebuild(study, (FIRST,), prebuilt.place(home))
        profile = folder / "profile.yaml"
        profile.write_text(place)
        found[name] = with_a_kill(home, victim, stage, str(study), FIRST, str(profile))
    assert found["inline"][0] == 0
    assert found["elsewhere"][0] == 1, f"no {victim} was there to kill"
    assert found["elsewhere"][1:] == found["inline"][1:]
    assert found["elsewhere"][2] == ""


def test_sparks_virtual_machine_is_killed_and_started_once_more(tmp_path: Path) -> None:
    found = {}
    for name, victim in (("left alone", "nobody"), ("killed", "java")):
        folder = tmp_path / name
        home = folder / "home"
        prebuilt.write_lake(home, (FIRST,))
        study = prebuilt.write_study(folder)
        profile = folder / "profile.yaml"
        profile.write_text('spark: {master: "local[2]", memory: 1g}\n')
        found[name] = with_a_kill(home, victim, "features", str(study), FIRST, str(profile))
    assert found["killed"][0] == 1
    assert found["killed"][1:] == found["left alone"][1:]
    assert found["killed"][2] == ""
