"""Where fits run changes nothing: repetitions have folds of their own, and no fit is made twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from conf.profile import Profile, load_profile
from estimators import crossfit
from estimators.crossfit import place, plan, tasks
from estimators.errors import CausewayError, PlatformError
from estimators.learners import open_fold
from estimators.units import Units
from jobs.fits import fits, lost_work
from jobs.room import room_of
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, effect
from tests.estimators.test_plan import many

FOREST = {"learner": "sklearn.ensemble.RandomForest", "n_estimators": 5}
STOPPED = BOOSTED | {"n_estimators": 60, "early_stopping_rounds": 4, "max_train_rows": 100}
LEARNERS = {
    "xgboost": BOOSTED | {"subsample": 0.7},
    "early stopping": STOPPED,
    "spline": {"learner": "spline", "segments": 3},
    "forest": FOREST,
    "lightgbm": {"learner": "lightgbm.LGBM", "n_estimators": 5, "bagging_fraction": 0.5},
}


def profile(home: Path, *, inline: bool, cpus: int = 2) -> Profile:
    base = load_profile("local")
    ray = base.ray.model_copy(update={"inline_below": 10**9 if inline else 0, "num_cpus": cpus})
    return base.model_copy(update={"home": home, "engines": "together", "ray": ray})


def sample() -> Units:
    units = build(11, Size(180, k=3, reps=3, clusters=60), missing=0.05, category=True)
    drawn = np.random.default_rng(0).integers(0, 2**64, (2, 180), dtype=np.uint64)
    return replace(units, place=drawn[0][units.cluster], unit=drawn[1])


def run(units: Units, spec: dict[str, Any], at: Profile, cut: int = 1) -> list[dict[str, bytes]]:
    """Predictions of each repetition, by target."""
    work = plan(units, (effect(outcome_learner=spec, treatment_learner=spec),))
    results = fits(units, tasks(units, work, cut), "salt", at, lambda _: None)
    return [{t.name: v.tobytes() for t, v in place(units, each).items()} for each in results]


@pytest.mark.parametrize("name", LEARNERS)
def test_ways_to_share_the_work_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    units = sample()
    alone = run(units, LEARNERS[name], profile(tmp_path, inline=True, cpus=1))
    assert run(units, LEARNERS[name], profile(tmp_path, inline=True), cut=2) == alone


@pytest.mark.slow
@pytest.mark.engines
def test_ray_gives_the_bytes_of_inline_for_every_learner(tmp_path: Path, ray_session: Any) -> None:
    units = sample()
    for name, spec in LEARNERS.items():
        inline = run(units, spec, profile(tmp_path, inline=True))
        assert run(units, spec, profile(tmp_path, inline=False), cut=2) == inline, name


def single(units: Units) -> Units:
    """As where only trees see the covariates."""
    return replace(
        units, design=replace(units.design, values=units.design.values.astype(np.float32))
    )


def tight(units: Units, spec: dict[str, Any], at: Profile, *, by: int = 1) -> Profile:
    """A profile that gives a fit some bytes less than it takes."""
    work = plan(units, (effect(outcome_learner=spec, treatment_learner=spec),))
    need = room_of(units, tasks(units, work), at).memory
    return at.model_copy(update={"ray": at.ray.model_copy(update={"memory_per_task": need - by})})


@pytest.mark.parametrize("name", ["xgboost", "early stopping"])
def test_bins_on_disk_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Several pages a fold, each on its own read again from the home's scratch; nothing stays."""
    monkeypatch.setattr("estimators.learners.batches._BATCH_BYTES", 4 * 4 * 17)
    made = []
    monkeypatch.setattr(
        "xgboost.ExtMemQuantileDMatrix.__init__",
        lambda self, *given, made=made, init=xgb.ExtMemQuantileDMatrix.__init__, **named: (
            made.append(given[0].rows), init(self, *given, **named)
        )[1],
    )  # fmt: skip
    units, at = single(sample()), profile(tmp_path, inline=True)
    in_memory = run(units, LEARNERS[name], at)
    assert not made
    assert run(units, LEARNERS[name], tight(units, LEARNERS[name], at)) == in_memory
    assert len(made) >= units.k * units.fold.shape[1]
    assert not list((tmp_path / "tmp").iterdir())


def test_a_fit_that_no_budget_holds_is_refused_before_it_begins(tmp_path: Path) -> None:
    at = profile(tmp_path, inline=True)
    for units, spec in ((single(sample()), BOOSTED), (sample(), LINEAR)):
        with pytest.raises(PlatformError, match="memory_per_task") as caught:
            run(units, spec, tight(units, spec, at, by=10_000))
        assert caught.value.code == "out_of_memory"


@pytest.mark.slow
@pytest.mark.engines
def test_bins_on_disk_of_a_ray_worker_give_the_same_bytes(tmp_path: Path, ray_session: Any) -> None:
    units, at = single(sample()), profile(tmp_path, inline=False)
    inline = run(units, BOOSTED, profile(tmp_path, inline=True))
    assert run(units, BOOSTED, tight(units, BOOSTED, at)) == inline
    assert not list((tmp_path / "tmp").iterdir())


def fold_of(units: Units, at: Profile) -> list[np.ndarray]:
    """Each unit's held-out fold as the predictions show it.

    A constant learner predicts the mean of the other folds: units of one fold share one value,
    and no two folds have the same.
    """
    constant = {"learner": "constant"}
    work = plan(units, (effect(outcome_learner=constant, treatment_learner=constant),))
    target = work.targets["plr.slope.d.y"]["l"]
    results = fits(units, tasks(units, work, 2), "", at, lambda _: None)
    return [np.unique(place(units, each)[target], return_inverse=True)[1] for each in results]


def distinct(units: Units, found: list[np.ndarray]) -> None:
    assert len(found) == units.fold.shape[1]
    for rep, codes in enumerate(found):
        pairs = set(zip(codes.tolist(), units.fold[:, rep].tolist(), strict=True))
        assert len(pairs) == units.k  # the predictions' folds are this repetition's own
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len(set(zip(found[a].tolist(), found[b].tolist(), strict=True))) > units.k


def test_each_repetition_has_folds_of_its_own_inline(tmp_path: Path) -> None:
    distinct(sample(), fold_of(sample(), profile(tmp_path, inline=True)))


@pytest.mark.engines
def test_each_repetition_has_folds_of_its_own_on_ray(tmp_path: Path, ray_session: Any) -> None:
    """EconML's Ray path fits every repetition on the same folds: this would show it."""
    distinct(sample(), fold_of(sample(), profile(tmp_path, inline=False)))


@pytest.mark.parametrize("cpus", [1, 2, 7])
def test_plr_costs_j_plus_m_fits_a_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    """Fits are counted where they are made: 3 treatments and 4 outcomes are 7, not 12."""
    units, specs = many(3, 4)
    seen: Counter[bytes] = Counter()
    opened = []

    class Counted:
        def __init__(self, fold: Any) -> None:
            self.fold = fold

        def predict(self, y: Any, kind: Any, spec: Any, seed: int) -> Any:
            seen[y.tobytes()] += 1
            return self.fold.predict(y, kind, spec, seed)

    def counted(spec: Any, **given: Any) -> Counted:
        opened.append(len(given["train"]))
        return Counted(open_fold(spec, **given))

    monkeypatch.setattr(crossfit, "open_fold", counted)
    work = plan(units, specs)
    at = profile(tmp_path, inline=True, cpus=cpus)
    for _ in fits(units, tasks(units, work, cpus), "", at, lambda _: None):
        pass
    assert sum(seen.values()) == units.k * (3 + 4)
    assert set(seen.values()) == {1}
    assert len(opened) == {1: 3, 2: 2 + 2, 7: 6}[cpus]


def test_left_over_tasks_are_cut_by_their_targets() -> None:
    units, specs = many(3, 4)
    work = plan(units, specs)
    for workers, sizes in (
        (1, [7] * 3),
        (2, [7, 7, 4, 3]),
        (3, [7] * 3),
        (4, [7] * 3),
        (6, [4, 3] * 3),
    ):
        found = [len(task.work.targets) for task in tasks(units, work, workers)]
        assert found == sizes
        cut = {
            (task.fold, each) for task in tasks(units, work, workers) for each in task.work.targets
        }
        assert len(cut) == 3 * 7


def test_a_linear_fit_is_where_it_was(tmp_path: Path) -> None:
    """A pass cut in three gives what it gives whole."""
    units = sample()
    alone = run(units, LINEAR, profile(tmp_path, inline=True, cpus=1))
    assert run(units, LINEAR, profile(tmp_path, inline=True), cut=18) == alone


def test_what_ray_says_of_its_workers_is_an_error_of_ours() -> None:
    ray = pytest.importorskip("ray")
    for raised, code in (
        (ray.exceptions.OutOfMemoryError("a worker was killed"), "out_of_memory"),
        (ray.exceptions.WorkerCrashedError(), "ray_lost"),
    ):
        with pytest.raises(CausewayError) as caught, lost_work(2_000_000_000):
            raise raised
        assert caught.value.code == code
        assert caught.value.remedy


@pytest.mark.parametrize("spec", [LINEAR, BOOSTED], ids=["linear", "xgboost"])
def test_weights_that_add_up_to_one_fit_as_those_of_mean_one(
    tmp_path: Path, spec: dict[str, Any]
) -> None:
    """A penalty counts rows: with weights of 1/n a learner found nothing, and nothing told so."""
    units, at = sample(), profile(tmp_path, inline=True)
    weight = np.random.default_rng(3).choice([0.5, 1.0, 1.5], units.n)
    weight *= units.n / weight.sum()
    expected, found = (
        run(replace(units, weight=each), spec, at) for each in (weight, weight / units.n)
    )
    for one, other in zip(expected, found, strict=True):
        for name, values in one.items():
            close = {"rtol": 1e-5, "atol": 1e-6}
            np.testing.assert_allclose(np.frombuffer(other[name]), np.frombuffer(values), **close)


def test_weights_of_copies_stay_what_they_are() -> None:
    """A row of weight 3 is three rows to a learner, penalty and all."""
    units = sample()
    weight = 1.0 + np.arange(units.n) % 3
    assert replace(units, weight=weight).for_fitting().weight is weight
