"""Coverage of corrected effects through the pipeline's own sums: fresh trial, fresh calibration.

Where label shift holds and the treatment is random, every correction's 95 % interval covers the
effect in 95 % of repetitions, and its standard error is the estimates' own spread. Without the
calibration's share of the variance the intervals are too narrow to pass.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.crossfit import plan, summarise
from estimators.debias.choice import choose
from estimators.debias.in_study import fit_predicted
from tests.estimators.debias.test_in_crossfit import ATE, labels, trial
from tests.estimators.samples import estimates, predict

REPETITIONS = 300
TAU = 1.0
CORRECTIONS = ("lcc", "tweedie", "ppi")


def repetition(number: int) -> dict[str, tuple[float, float, float]]:
    """Theta, standard error and the trial's own, by correction."""
    units = trial(800, 10_000 + number, tau=TAU, clusters=200)
    calibration = labels(300, 50_000 + number, tau=TAU)
    effects = tuple(replace(ATE, correction=name) for name in ("none", *CORRECTIONS))
    predicted = fit_predicted("y", f"c{number}", calibration, "tweedie", treatment="d")
    units, kept, corrections, _ = choose(units, effects, {"y": predicted})
    work = plan(units, kept, corrections)
    (predictions,) = predict(units, work)
    sums = summarise(units, work, 0, predictions)
    whole = estimates(units, [sums], drawn=False)
    alone = estimates(units, [replace(sums, calibration={})], drawn=False)
    return {
        name: (
            whole[f"irm+{name}.ate.d.y"].theta,
            whole[f"irm+{name}.ate.d.y"].se,
            alone[f"irm+{name}.ate.d.y"].se,
        )
        for name in CORRECTIONS
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)  # minutes of work where the machine is busy
def test_corrected_intervals_cover():
    found = [repetition(number) for number in range(REPETITIONS)]
    error = np.sqrt(0.95 * 0.05 / REPETITIONS)
    for name in CORRECTIONS:
        theta, se, alone = np.array([each[name] for each in found]).T
        covered = np.mean(np.abs(theta - TAU) < 1.96 * se)
        narrow = np.mean(np.abs(theta - TAU) < 1.96 * alone)
        assert abs(covered - 0.95) < 3.0 * error, (name, covered)
        assert 0.88 < se.mean() / theta.std() < 1.14, name
        assert narrow < covered, name
