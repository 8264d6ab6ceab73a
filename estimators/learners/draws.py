"""Draws inside a training fold: by hash of the cluster, so that no cluster is on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from estimators.learners.design import Hashes


def mixed(hashes: Hashes, seed: int) -> Hashes:
    """Hashes that another seed orders otherwise (the finaliser of SplitMix64), ``(n,)``.

    References
    ----------
    Steele, Lea and Flood 2014, *Fast splittable pseudorandom number generators*.
    """
    step = 0x9E3779B97F4A7C15 * (2 * seed + 1) % 2**64
    z = hashes + np.uint64(step)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def positions(n: int) -> Hashes:
    """Row numbers, where no ids are at hand."""
    return np.arange(n, dtype=np.uint64)


def parts(place: Hashes, k: int, seed: int) -> NDArray[np.int64]:
    """Part of each row, 0 to k - 1; the rows of a cluster share one.

    Parameters
    ----------
    place
        ``(n,)`` hash of the row's cluster. Rows of one single cluster are cut by row; of fewer
        clusters than k the last parts are empty.
    """
    clusters, owner = np.unique(place, return_inverse=True)
    if len(clusters) == 1:
        clusters, owner = positions(len(place)), np.arange(len(place))
    rank = np.empty(len(clusters), dtype=np.int64)
    rank[np.argsort(mixed(clusters, seed), kind="stable")] = np.arange(len(clusters))
    return np.asarray(rank[owner] % k, dtype=np.int64)
