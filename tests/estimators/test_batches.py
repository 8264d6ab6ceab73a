"""Matrices built from batches are those built at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xgboost as xgb

from estimators.learners import batches, open_fold
from estimators.learners.batches import Batches, batch, spans
from estimators.learners.boosted import BoostedFold
from tests.estimators.samples import BOOSTED
from tests.estimators.test_learners import data

SETTINGS = {"max_depth": 4, "max_bin": 32, "tree_method": "hist", "nthread": 1, "seed": 3}


def small(monkeypatch: pytest.MonkeyPatch, rows: int, p: int = 5) -> None:
    monkeypatch.setattr(batches, "_BATCH_BYTES", 4 * p * rows)


def trained(matrix: xgb.QuantileDMatrix, y: Any) -> bytes:
    matrix.set_info(label=y)
    return bytes(xgb.train(SETTINGS, matrix, num_boost_round=8).save_raw("json"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [7, 1000, 10**6])
def test_bins_and_trees_are_those_of_all_rows_at_once(
    monkeypatch: pytest.MonkeyPatch, rows: int, *, weighted: bool
) -> None:
    """Missing values and categories among them; more rows than bins, so that cuts are sketched."""
    small(monkeypatch, rows)
    design, train, _, weight, y = data(n=4_000 if rows > 7 else 400)
    given = weight[train] if weighted else None
    at_once = xgb.QuantileDMatrix(
        design.values[train].astype(np.float32), weight=given, max_bin=32, nthread=1,
        feature_names=list(design.names), feature_types=design.feature_types,
        enable_categorical=True,
    )  # fmt: skip
    streamed = xgb.QuantileDMatrix(
        Batches(design, train, given), max_bin=32, nthread=1, enable_categorical=True
    )
    for one, other in zip(at_once.get_quantile_cut(), streamed.get_quantile_cut(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert trained(streamed, y[train]) == trained(at_once, y[train])


def test_predictions_in_batches_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    design, train, test, weight, y = data()
    found = []
    for rows in (3, 10**6):
        small(monkeypatch, rows)
        opened = open_fold(BOOSTED, design, train, test, weight)
        found.append(opened.predict(y[train], "continuous", BOOSTED, 5).tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_a_matrix_predicts_what_rows_in_place_do(kind: Any) -> None:
    """The way of a device, whose rows lie elsewhere; a label that training never saw among them."""
    design, train, test, weight, y = data()
    design.values[train[design.values[train, 2] == 3.0], 2] = 0.0
    opened = BoostedFold(BOOSTED, design, train, test, weight, threads=1, device="cpu")
    label = y[train] if kind == "continuous" else (y[train] > 0).astype(np.float64)
    opened.matrix.set_info(label=label)
    booster = xgb.train(opened._settings(label, kind, BOOSTED, 5), opened.matrix, 8)
    here, there = (way(booster, test, 6) for way in (opened._in_place, opened._by_matrix))
    assert len(np.unique(here)) > 10
    assert here.tobytes() == there.tobytes()


def test_batches_are_all_rows_once_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 9)
    design, train, *_ = data()
    parts = [batch(design, train[span]) for span in spans(design, train)]
    assert [len(each) for each in parts] == [9] * 33 + [3]
    assert all(each.dtype == np.float32 for each in parts)
    assert np.concatenate(parts).tobytes() == design.values[train].astype(np.float32).tobytes()
