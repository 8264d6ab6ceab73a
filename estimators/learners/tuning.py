"""Settings chosen inside a training fold: boosting rounds by early stopping, and a small search.

The training rows are split once, by hash of the cluster: candidates are fitted on the larger part
and judged on the other, then the best is fitted on all training rows. Held-out rows of the outer
fold have no say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from estimators.catalog import CHOSEN_INSIDE, Kind
from estimators.effects import Spec
from estimators.learners.design import Doubles, Fold, Hashes, Index, StoppingFold
from estimators.learners.draws import mixed, parts, positions

PARTS = 5
"""One part in so many is kept for judging."""
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Split:
    """A split of the training rows, by their positions among them.

    Attributes
    ----------
    fit, judge
        Ascending; no cluster is in both, while there are two.
    """

    fit: Index
    judge: Index


def split(place: Hashes, seed: int) -> Split:
    """Split training rows by the hashes of their clusters."""
    judging = parts(place, PARTS, seed) == 0
    return Split(np.flatnonzero(~judging), np.flatnonzero(judging))


def subsample(train: Index, unit: Hashes | None, limit: int | None, seed: int) -> Index:
    """At most `limit` of the training rows: those with the smallest hashes of their units' ids."""
    if limit is None or len(train) <= limit:
        return train
    hashes = mixed(positions(len(train)) if unit is None else unit[train], seed)
    return train[np.sort(np.argsort(hashes, kind="stable")[:limit])]


def is_tuned(spec: Spec) -> bool:
    """Whether something is chosen inside the training fold."""
    return "search" in spec or "early_stopping_rounds" in spec


def own(spec: Spec) -> Spec:
    """The learner's own parameters: what a fit is given."""
    return {key: value for key, value in spec.items() if key not in CHOSEN_INSIDE}


def candidates(spec: Spec) -> Iterator[Spec]:
    """The learner with each set of parameters to choose from."""
    for changes in spec.get("search", ((),)):
        yield {**own(spec), **dict(changes)}


def choose(
    spec: Spec, inner: Fold, y: Doubles, weight: Doubles, chosen: Split, *, kind: Kind, seed: int
) -> Spec:
    """The candidate with the smallest loss on the rows kept for judging; of equal ones the first.

    Parameters
    ----------
    inner
        Opened on the rows to fit, with the rows to judge held out.
    y, weight
        Of all training rows.
    chosen
        The split.

    Returns
    -------
    Spec
        The learner's own parameters; with early stopping, as many rounds as were best.
    """
    fit, truth = y[chosen.fit], y[chosen.judge]
    best, least = own(spec), np.inf
    rounds = spec.get("early_stopping_rounds")
    for candidate in candidates(spec):
        settled = candidate
        if rounds is not None and isinstance(inner, StoppingFold):
            settled, predicted = inner.stopped(fit, kind, candidate, seed, truth, patience=rounds)
        else:
            predicted = inner.predict(fit, kind, candidate, seed)
        found = loss(truth, predicted, weight[chosen.judge], kind)
        if found < least:
            best, least = settled, found
    return best


def loss(y: Doubles, predicted: Doubles, weight: Doubles, kind: Kind) -> float:
    """Weighted mean squared error; for a binary target the log loss."""
    if kind == "binary":
        p = np.clip(predicted, _FLOOR, 1.0 - _FLOOR)
        each = -(y * np.log(p) + (1.0 - y) * np.log1p(-p))
    else:
        each = (y - predicted) ** 2
    return float(np.average(each, weights=weight))
