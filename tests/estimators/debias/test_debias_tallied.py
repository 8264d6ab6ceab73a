import numpy as np
import pytest

from estimators.debias.labelled import labelled_rows, residual_sums
from estimators.debias.ppi import ppi_mean, sums
from estimators.debias.tallied import (
    Place,
    powered_sums,
    powered_tallies,
    residual_tallies,
    residuals_of,
)
from estimators.tallies import merge
from tests.estimators.debias.test_debias_gate import people


def _by_subject(parts: list) -> dict:
    subjects: dict = {}
    for tally in parts:
        subjects.setdefault(tally.subject, []).append(tally)
    return {subject: merge(rows) for subject, rows in subjects.items()}


def test_ppi_from_tallies_of_two_folds_is_ppi_from_rows() -> None:
    generator = np.random.default_rng(1)
    y, f = generator.standard_normal((2, 400)) + 2.0
    f = y + 0.5 * f
    other, w, v = generator.standard_normal(3_000), generator.random(400), generator.random(3_000)
    parts = []
    for fold in (0, 1):
        place = Place(0, fold, "irm+ppi.ate.a.y")
        own, rest = np.arange(400) % 2 == fold, np.arange(3_000) % 2 == fold
        parts += powered_tallies(sums(y[own], f[own], weight=w[own]), "labelled", place)
        parts += powered_tallies(sums(other[rest], weight=v[rest]), "unlabelled", place)
    merged = _by_subject(parts)
    found = ppi_mean(
        powered_sums(merged, "labelled", labelled=True),
        powered_sums(merged, "unlabelled", labelled=False),
    )
    expected = ppi_mean(sums(y, f, weight=w), sums(other, weight=v))
    assert found.theta == pytest.approx(expected.theta, abs=1e-10)
    assert found.se == pytest.approx(expected.se, rel=1e-9)
    assert found.lam == pytest.approx(expected.lam, rel=1e-9)


def test_the_gates_residuals_come_back_from_tallies() -> None:
    rows = people(600, np.random.default_rng(2))
    weight = np.random.default_rng(3).random(600) + 0.5
    labelled = labelled_rows(rows, weight=weight)
    assert labelled is not None
    found = residual_sums(labelled, rows.prediction)
    places = [Place(0, -1, "irm.ate.a.y", arm=str(arm)) for arm in (0, 1)]
    tallies = residual_tallies(found, "none", places)
    strata = [_by_subject([t for t in tallies if t.arm == str(arm)]) for arm in (0, 1)]
    again = residuals_of(strata, "none")
    assert np.allclose(again.mean, found.mean, rtol=1e-12)
    assert np.allclose(again.variance, found.variance, rtol=1e-12)
    assert again.n.tolist() == found.n.tolist()
