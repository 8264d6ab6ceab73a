"""Covariates of a features key as one array of numbers, read a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from conf.profile import Profile
from estimators.catalog import learner_of
from estimators.effects import EffectSpec
from estimators.learners import Design
from jobs.gram.reading import batches
from jobs.ledger import Stage


def read_design(
    features: Stage,
    covariates: Sequence[str],
    effects: tuple[EffectSpec, ...],
    profile: Profile,
    place: NDArray[np.intp],
) -> Design:
    """Read covariates into their rows: Arrow's doubles of all of them never lie in memory at once.

    They are float32 where only trees see them (they compare in float32), else float64.

    Parameters
    ----------
    place
        ``(n,)`` the row of the array that each row of the files goes to.
    """
    values = np.empty((len(place), len(covariates)), dtype=_precision(effects))
    texts: dict[int, list[pa.Array]] = {}
    start = 0
    for rows in batches(features, profile, covariates):
        block = np.empty((len(rows), len(covariates)), dtype=values.dtype)
        for j, column in enumerate(rows.columns):
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                texts.setdefault(j, []).extend(column.chunks)
            else:
                block[:, j] = doubles(column)
        values[place[start : start + len(rows)]] = block
        start += len(rows)
    categories = {}
    for j, chunks in texts.items():
        codes, labels = codes_of(pa.chunked_array(chunks))
        values[place, j] = np.where(codes < 0, np.nan, codes)
        categories[j] = tuple(labels)
    return Design(values, tuple(covariates), categories)


def _precision(effects: tuple[EffectSpec, ...]) -> type[np.floating]:
    learners = {
        spec["learner"]
        for each in effects
        for spec in (each.outcome_learner, each.treatment_learner)
    }
    return np.float32 if all(learner_of(name).single_precision for name in learners) else np.float64


def doubles(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers as float64, NaN where NULL."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def codes_of(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Index into the sorted distinct values; -1 where NULL."""
    encoded = column.combine_chunks().dictionary_encode()
    labels = encoded.dictionary.to_pylist()
    order = sorted(range(len(labels)), key=labels.__getitem__)
    rank = np.empty(len(labels) + 1, dtype=np.int64)
    rank[order] = np.arange(len(labels))
    rank[-1] = -1
    index = encoded.indices.fill_null(len(labels)).to_numpy(zero_copy_only=False)
    return rank[index], [labels[i] for i in order]
