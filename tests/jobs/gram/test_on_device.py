"""`device: cuda` on the Gram engine: the CPU's record at a tolerance, and sums of its own.

JAX's CPU device stands where a GPU is not; the tests with the mark `gpu` take a CUDA device.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from estimators.cuda import cuda_devices
from estimators.errors import PlatformError
from jobs import crossfit, estimate
from jobs.estimate import read_effects
from jobs.gram import products, tasks
from jobs.gram.compute import Computed, compute
from jobs.lake import read_record
from tests.jobs.gpu_by_word import ROOT, said_by
from tests.jobs.gram import clinic
from tests.jobs.gram.test_interactive import IRM

CPU = partial(products.on_platform, "cpu")
"""An opener: products on JAX's CPU device."""
ONE = IRM.replace("repetitions: 2", "repetitions: 1")
STUDIES = {"plr": clinic.STUDY, "irm": IRM}
GPU = pytest.mark.skipif(cuda_devices() == 0, reason="no CUDA device is there")
NO_GPU = pytest.mark.skipif(cuda_devices() > 0, reason="a CUDA device is there")


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Say nothing."""


def computed(home: Path, text: str, device: str, **given: Any) -> Computed:
    """The stage's sums; what is before it looks for the device and is passed by."""
    file = clinic.write(home, clinic.visits(range(2)), text)
    found, built = clinic.prebuild(file, clinic.place(home))
    return compute(found, built, clinic.place(home, device=device), silent, **given)


def names(home: Path) -> set[str]:
    rows = read_record(str(home / "record"), "gram_partials", None, ["layout_digest"])
    return set(rows["layout_digest"].to_pylist())


@pytest.mark.parametrize("study", STUDIES)
def test_the_record_is_that_of_the_cpu(tmp_path: Path, study: str) -> None:
    pytest.importorskip("jax")
    here = computed(tmp_path, STUDIES[study], "cpu")
    there = computed(tmp_path, STUDIES[study], "cuda", products=CPU)
    assert here.key != there.key
    assert set(here.tables) == {"cells", "moments", "tallies"}
    differ = 0
    for name, table in here.tables.items():
        differ += same(table, there.tables[name])
    assert differ, "the device was not asked"


def same(table: pa.Table, other: pa.Table) -> int:
    """Equal but for rounding; how many columns are not equal byte for byte."""
    assert table.column_names == other.column_names
    assert len(table) == len(other) > 0
    differ = 0
    for name in table.column_names:
        one, two = (each[name].combine_chunks() for each in (table, other))
        if name == "crossfit_key":
            continue
        while pa.types.is_list(one.type):
            assert one.value_lengths() == two.value_lengths()
            one, two = one.flatten(), two.flatten()
        if not pa.types.is_floating(one.type):
            assert one == two, name
            continue
        x, y = (each.to_numpy(zero_copy_only=False) for each in (one, two))
        assert np.array_equal(np.isnan(x), np.isnan(y))
        np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(x)), err_msg=name)
        differ += not np.array_equal(x, y, equal_nan=True)
    return differ


def test_no_device_takes_the_sums_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jax")
    summed: list[Any] = []
    plain = tasks.sum_block

    def counted(shared: Any, block: Any) -> Any:
        summed.append(block)
        return plain(shared, block)

    monkeypatch.setattr(tasks, "sum_block", counted)
    computed(tmp_path, IRM, "cpu")
    blocks, cpu = len(summed), names(tmp_path)
    first = computed(tmp_path, IRM, "cuda", products=CPU)
    assert len(summed) == 2 * blocks > 0
    assert names(tmp_path) == cpu | {f"cuda:{each}" for each in cpu}
    again = computed(tmp_path, IRM, "cuda", products=CPU)
    assert len(summed) == 2 * blocks, "its own sums were not taken"
    assert all(again.tables[name] == table for name, table in first.tables.items())


@NO_GPU
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="no CUDA device is there") as caught:
        computed(tmp_path, clinic.STUDY, "cuda")
    assert caught.value.code == "no_gpu"


@pytest.mark.skipif(find_spec("jax_plugins") is not None, reason="JAX has a plugin")
def test_a_jax_without_cuda_says_how_to_get_it() -> None:
    for asked in (products.require_jax, partial(products.on_platform, "cuda")):
        with pytest.raises(PlatformError, match=r"CUDA plugin|opens no cuda device") as caught:
            asked()
        assert caught.value.code == "no_jax"
        assert "jax[cuda12]" in caught.value.remedy


def test_without_jax_the_cpu_runs_and_the_rest_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "estimators.gram.on_device", raising=False)
    assert computed(tmp_path, clinic.STUDY, "cpu").tables
    for asked in (products.require_jax, partial(products.on_platform, "cuda")):
        with pytest.raises(PlatformError, match="JAX is not installed") as caught:
            asked()
        assert caught.value.code == "no_jax"
        assert caught.value.exit_code == 6
        assert "causeway[gpu]" in caught.value.remedy


def effects(home: Path, text: str, device: str, *, inline: bool) -> dict[str, dict[str, Any]]:
    base = clinic.place(home, inline=inline)
    given = base.ray.model_copy(update={"gpus_per_task": 0.5})
    profile = base.model_copy(update={"device": device, "ray": given})
    found, built = clinic.prebuild(clinic.write(home, clinic.visits(range(2)), text), profile)
    fitted = crossfit.run(found, built, profile)
    key = estimate.run(found, fitted, profile).key
    return {row["effect_id"]: row for row in read_effects(profile.record_root, key)}


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("study", STUDIES)
def test_on_the_gpu_effects_are_those_of_the_cpu(tmp_path: Path, study: str, inline: bool) -> None:
    """Float64 on both: rounding alone differs, and Newton steps end within 1e-9."""
    cpu = effects(tmp_path / "cpu", STUDIES[study], "cpu", inline=True)
    gpu = effects(tmp_path / "gpu", STUDIES[study], "cuda", inline=inline)
    assert set(gpu) == set(cpu)
    for name, row in gpu.items():
        assert row["theta"] == pytest.approx(cpu[name]["theta"], rel=1e-7, abs=1e-9)
        assert row["se"] == pytest.approx(cpu[name]["se"], rel=1e-7)


ELSEWHERE = """
import sys
from hashlib import sha256
from pathlib import Path
from tests.jobs.gram.test_on_device import CPU, STUDIES, computed

products = CPU if sys.argv[2] == "cpu" else None
for text in STUDIES.values():
    found = computed(Path(sys.argv[1]), text, "cuda", products=products)
    sums = {name: table.to_pydict() for name, table in found.tables.items()}
    print(sha256(repr(sums).encode()).hexdigest())
"""


@pytest.mark.parametrize(
    "platform",
    [
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param("cuda", marks=[pytest.mark.gpu, GPU]),
    ],
)
def test_two_processes_give_the_same_bytes(tmp_path: Path, platform: str) -> None:
    pytest.importorskip("jax")
    found = [
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE, str(tmp_path / home), platform],
            capture_output=True, text=True, check=True, cwd=ROOT, timeout=250,
        ).stdout.split()
        for home in ("one", "two")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(set(found[0])) == len(STUDIES)


ON_RAY = """
import json, sys
from pathlib import Path
from ray.core.generated import common_pb2
from estimators.errors import PlatformError
from jobs.gram.compute import compute
from tests.jobs.gpu_by_word import promised
from tests.jobs.gram import clinic
from tests.jobs.gram.test_on_device import CPU, ONE, same, silent
from tests.jobs.on_cluster import task_events

home = Path(sys.argv[1])
with promised():
    file = clinic.write(home, clinic.visits(range(2)), ONE)
    found, built = clinic.prebuild(file, clinic.place(home))
    base = clinic.place(home, inline=False)
    codes = {}
    for share in (0.25, 2.0):
        given = base.ray.model_copy(update={"gpus_per_task": share})
        profile = base.model_copy(update={"device": "cuda", "ray": given})
        try:
            compute(found, built, profile, silent)
        except PlatformError as error:
            codes[share] = error.code, str(error)
    given = base.ray.model_copy(update={"gpus_per_task": 0.25})
    profile = base.model_copy(update={"device": "cuda", "ray": given})
    ours = compute(found, built, profile, silent, products=CPU)
    asked = [
        (common_pb2.FAILED in each.state_updates.state_ts_ns, each.state_updates.worker_pid,
         dict(each.task_info.required_resources).get("GPU"))
        for each in task_events()
    ]
    theirs = compute(found, built, clinic.place(home), silent)
    for name, table in theirs.tables.items():
        same(table, ours.tables[name])
    print(json.dumps([codes, asked]))
"""


@NO_GPU
@pytest.mark.slow
@pytest.mark.engines
def test_on_ray_tasks_that_make_products_ask_for_their_share(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    codes, asked = said_by(ON_RAY, tmp_path)
    assert codes["0.25"][0] == codes["2.0"][0] == "no_gpu"
    assert "no CUDA device" in codes["0.25"][1], "the worker did not say so itself"
    assert "asks for 2 GPU and no node of Ray has more than 1" in codes["2.0"][1]
    assert {share for failed, _, share in asked if failed} == {0.25}
    done = [(pid, share) for failed, pid, share in asked if not failed]
    assert {share for _, share in done} == {0.25, None}, "scores by row need no GPU"
    assert len({pid for pid, share in done if share}) < len(done) / 4, "a worker for each task"
