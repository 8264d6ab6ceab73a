"""Fits that several Ray workers share: the same model to a tolerance, the same bytes again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimators.crossfit import fit, place, plan, tasks
from estimators.errors import PlatformError, RetryableError
from estimators.units import Units
from jobs.fits import fits, lost_work
from jobs.shards import cut, fit_together
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, effect
from tests.jobs.test_fits import profile

ALONE = BOOSTED | {"n_estimators": 5}
SHARED = ALONE | {"num_workers": 2}


def sample(*, coarse: bool) -> Units:
    """Weighted units; coarse: fewer values a covariate than bins, so that cuts are all of them."""
    units = build(11, Size(3_000, k=3), missing=0.05, category=True, weighted=True)
    values = units.design.values.astype(np.float32)
    if coarse:
        values = np.round(values, 0)
    return replace(units, design=replace(units.design, values=values))


def run(units: Units, spec: dict[str, Any], home: Path, *, inline: bool = False) -> dict[str, Any]:
    work = plan(units, (effect(outcome_learner=spec, treatment_learner=spec),))
    at = profile(home, inline=inline)
    (results,) = fits(units, tasks(units, work, 2), "salt", at, lambda _: None)
    return {target.name: values for target, values in place(units, results).items()}


def test_shares_are_the_rows_in_their_order() -> None:
    units = sample(coarse=False).for_fitting()
    (whole,) = cut(units, 1)
    assert whole is units
    shares = cut(units, 3)
    assert [each.n for each in shares] == [1000] * 3
    for of in (
        lambda each: each.design.values,
        lambda each: each.treatments["d"],
        lambda each: each.outcomes["y"],
        lambda each: each.weight,
        lambda each: each.fold,
    ):
        assert np.concatenate([of(each) for each in shares]).tobytes() == of(units).tobytes()


def test_one_process_fits_it_alone() -> None:
    """Beside other packages (`compare`) a task is fitted here: workers are no part of training."""
    units = sample(coarse=True)
    found = []
    for spec in (SHARED, ALONE):
        work = plan(units, (effect(outcome_learner=spec, treatment_learner=spec),))
        found.append([fit(units, task, "salt").tobytes() for task in tasks(units, work)])
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.engines
def test_two_workers_train_the_model_of_one(tmp_path: Path, ray_session: Any) -> None:
    """Where cuts are all values: predictions to float32's digits, base score and weights too."""
    units = sample(coarse=True)
    alone, together = run(units, ALONE, tmp_path, inline=True), run(units, SHARED, tmp_path)
    assert alone.keys() == together.keys()
    for name, values in together.items():
        np.testing.assert_allclose(values, alone[name], rtol=0, atol=1e-4)
    again = run(units, SHARED, tmp_path, inline=True)  # however small: several workers are Ray's
    assert {k: v.tobytes() for k, v in again.items()} == {
        k: v.tobytes() for k, v in together.items()
    }


@pytest.mark.slow
@pytest.mark.engines
def test_sketched_cuts_move_predictions_little(tmp_path: Path, ray_session: Any) -> None:
    """Quantiles are merged over the workers: other cuts, the same curve."""
    units = sample(coarse=False)
    alone, together = run(units, ALONE, tmp_path, inline=True), run(units, SHARED, tmp_path)
    for name, values in together.items():
        apart = values - alone[name]
        assert 0 < np.sqrt(np.mean(apart**2)) < 0.15 * alone[name].std()


@pytest.mark.slow
@pytest.mark.engines
def test_learners_of_both_kinds_in_one_study(tmp_path: Path, ray_session: Any) -> None:
    units = sample(coarse=True)
    work = plan(units, (effect(outcome_learner=SHARED, treatment_learner=LINEAR),))
    (results,) = fits(
        units, tasks(units, work, 2), "salt", profile(tmp_path, inline=False), lambda _: None
    )
    assert [task for task, _ in results] == tasks(units, work, 2)
    assert all(np.isfinite(values).all() for values in place(units, results).values())


@pytest.mark.slow
@pytest.mark.engines
def test_more_workers_than_processors_are_an_error(tmp_path: Path, ray_session: Any) -> None:
    with pytest.raises(PlatformError, match="50 processors, and Ray has 2") as caught:
        run(sample(coarse=True), BOOSTED | {"num_workers": 50}, tmp_path)
    assert caught.value.code == "no_workers"


@pytest.mark.slow
@pytest.mark.engines
def test_a_lost_worker_ends_the_fit(ray_session: Any) -> None:
    """Its peer would wait in the next sum of histograms."""
    import ray

    units = sample(coarse=True).for_fitting()
    work = plan(units, (effect(outcome_learner=SHARED, treatment_learner=SHARED),))
    first = units.design.values[0, 0]

    def one(share: Units, task: Any) -> Any:
        if share.design.values[0, 0] == first:
            os._exit(1)
        return fit(share, task, "salt")

    shares = [ray.put(each) for each in cut(units, 2)]
    with pytest.raises(RetryableError) as caught, lost_work(1):
        fit_together(shares, tasks(units, work)[0], one, ray.remote(num_cpus=1, max_retries=0))
    assert caught.value.code == "ray_lost"
