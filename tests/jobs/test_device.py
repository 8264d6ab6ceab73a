"""A GPU that is asked for and absent is a named error before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf.profile import Profile, load_profile
from estimators.cuda import cuda_devices
from estimators.errors import CausewayError, PlatformError
from jobs import crossfit, estimate
from jobs.estimate import read_effects
from pipelines.backfill import backfill
from pipelines.backfill_report import Request
from pipelines.plan import plan
from pipelines.run import run_study
from tests.jobs import prebuilt
from tests.jobs.gpu_by_word import said_by

MONTH = prebuilt.MONTHS[0]
TREES = prebuilt.STUDY.replace("linear", "xgboost")
GRAM = prebuilt.STUDY.replace("linear", "gram").replace("  - {method: irm, estimand: ate}\n", "")
WITHOUT = pytest.mark.skipif(cuda_devices() > 0, reason="a CUDA device is there")


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Say nothing."""


def run_it(study: str, profile: str) -> CausewayError | None:
    return run_study(study, MONTH, profile=profile, progress=silent).error


def plan_it(study: str, profile: str) -> CausewayError | None:
    plan(study, load_profile(profile), window=MONTH, first=None, last=None)
    return None


def backfill_it(study: str, profile: str) -> CausewayError | None:
    return backfill(Request(study, MONTH, MONTH, profile=profile), silent).error


@WITHOUT
@pytest.mark.parametrize("command", [run_it, plan_it, backfill_it])
@pytest.mark.parametrize(
    "case",
    [
        (TREES, "", "no_gpu"),
        (prebuilt.STUDY, "", "device"),
        (GRAM, "", "no_gpu"),
        (GRAM, "grams: spark\n", "device"),
    ],
)
def test_no_command_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any, case: tuple[str, str, str]
) -> None:
    text, more, code = case
    for name in ("PREFECT_API_URL", "CAUSEWAY_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("CAUSEWAY_HOME", str(home))
    prebuilt.write_lake(home, (MONTH,))
    study, profile = prebuilt.write_study(tmp_path, text), tmp_path / "gpu.yaml"
    profile.write_text(f"device: cuda\n{more}")
    try:
        found = command(str(study), str(profile))
    except CausewayError as raised:
        found = raised
    assert isinstance(found, PlatformError)
    assert (found.code, found.exit_code) == (code, 6)
    assert "device: cpu" in found.remedy
    assert sorted(each.name for each in home.iterdir()) == ["lake"]


ON_RAY = """
import json
from conf.profile import load_profile
from estimators.errors import PlatformError
from jobs.fits import fits
from estimators.crossfit import plan, tasks
from tests.estimators.samples import BOOSTED, Size, build, effect
from tests.jobs.gpu_by_word import promised
from tests.jobs.on_cluster import task_events

with promised():
    units = build(11, Size(120, k=2, reps=1))
    work = plan(units, (effect(outcome_learner=BOOSTED, treatment_learner=BOOSTED),))
    base = load_profile("local")
    codes = {}
    for share in (0.25, 2.0):
        given = base.ray.model_copy(update={"inline_below": 0, "gpus_per_task": share})
        profile = base.model_copy(update={"device": "cuda", "ray": given})
        try:
            for _ in fits(units, tasks(units, work, 1), "", profile, lambda _: None):
                pass
        except PlatformError as error:
            codes[share] = error.code, str(error)
    asked = [dict(each.task_info.required_resources).get("GPU") for each in task_events()]
    print(json.dumps([codes, asked]))
"""


@WITHOUT
@pytest.mark.slow
@pytest.mark.engines
def test_a_fit_on_ray_asks_for_its_share_of_a_gpu_and_finds_none(tmp_path: Path) -> None:
    codes, asked = said_by(ON_RAY, tmp_path)
    assert codes["0.25"][0] == "no_gpu"
    assert "no CUDA device" in codes["0.25"][1], "the worker did not say so itself"
    assert codes["2.0"][0] == "no_gpu"
    assert "a fit asks for 2 GPU and no node of Ray has more than 1" in codes["2.0"][1]
    assert asked
    assert set(asked) == {0.25}


def effects(folder: Path, device: str, *, inline: bool) -> dict[str, dict[str, Any]]:
    """The effects of a month on a device, by id."""
    prebuilt.write_lake(folder, (MONTH,))
    base = prebuilt.place(folder)
    ray = base.ray.model_copy(
        update={"inline_below": 10**9 if inline else 0, "num_cpus": 2, "gpus_per_task": 0.5}
    )
    place: Profile = base.model_copy(
        update={"device": device, "engines": "together", "ray": ray, "home": folder}
    )
    file = prebuilt.write_study(folder, TREES)
    prebuilt.prebuild(file, (MONTH,), place)
    found = prebuilt.resolved(file, MONTH, place)
    fitted = crossfit.run(found, prebuilt.built(found, place), place)
    key = estimate.run(found, fitted, place).key
    return {row["effect_id"]: row for row in read_effects(place.record_root, key)}


@pytest.mark.gpu
@pytest.mark.skipif(cuda_devices() == 0, reason="no CUDA device is there")
@pytest.mark.parametrize("inline", [True, False])
def test_a_study_on_the_gpu_agrees_with_the_cpu(tmp_path: Path, inline: bool) -> None:
    """Tolerance, not bytes: bins and sums of gradients round differently there."""
    cpu = effects(tmp_path / "cpu", "cpu", inline=True)
    gpu = effects(tmp_path / "gpu", "cuda", inline=inline)
    assert set(gpu) == set(cpu)
    for name, row in gpu.items():
        assert row["theta"] == pytest.approx(cpu[name]["theta"], abs=0.5 * cpu[name]["se"])
        assert row["se"] == pytest.approx(cpu[name]["se"], rel=0.2)
