"""DoubleML on our folds."""

from __future__ import annotations

import numpy as np
from doubleml.double_ml import DoubleML

from estimators.units import Units


def split(model: DoubleML, units: Units) -> None:
    """Give a DoubleML model the units' folds, and their clusters'."""
    reps, clusters = range(units.fold.shape[1]), units.cluster
    rows = [
        [
            (np.flatnonzero(units.fold[:, r] != f), np.flatnonzero(units.fold[:, r] == f))
            for f in range(units.k)
        ]
        for r in reps
    ]
    owners = None
    if clusters is not None:
        owners = [
            [
                tuple([np.unique(clusters[part])] for part in split)  # train, test
                for split in repetition
            ]
            for repetition in rows
        ]
    model.set_sample_splitting(rows, all_smpls_cluster=owners)
