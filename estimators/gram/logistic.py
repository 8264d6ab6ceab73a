"""Logistic propensities out of fold, by Newton steps over blocks.

IRLS proper needs a weighted Gram for each fold and treatment in every iteration, and these cannot
be down-dated. But a Newton step with a *nearby* Hessian has the same fixed point, the penalised
maximum of the training rows, and K fits on overlapping rows lie near each other: so one weighted
Gram a treatment, at the mean of its K fits, serves all of them less the held-out fold's part, and
is kept while steps shrink fast. All other passes cost one gradient: two thin products. A treatment
whose fits differ too much (near separation) gets a Hessian for each fold. The first step needs no
pass at all: at the constant fit, gradient and Hessian are in the plain Gram.

References
----------
Böhning and Lindsay 1988, *Monotonicity of quadratic-approximation algorithms*: steps with a
matrix that is not the Hessian at the point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from estimators.errors import NotEstimableError, Where
from estimators.gram.blas import Doubles, one_thread, packed_size, unpack
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.logistic_pass import KEEP, OWN, SHARED, Logistic, LogisticSums, logistic_pass
from estimators.gram.partials import Sums, Tree
from estimators.gram.system import Gram, System, gram_of, without

PASSES = 40
"""Passes after which a treatment is given up."""
SMALL_STEP = 1e-9
"""Length of the last Newton step, in the units of the linear predictor (root mean square)."""
SLOW = 0.1
"""Steps that shrink by less, or are longer, ask for a better Hessian."""


def start(
    layout: Layout,
    folds: Sequence[Sums],
    treatments: Sequence[str],
    penalty: Doubles,
    *,
    rows: str = "",
) -> Logistic:
    """The first step, from the folds' plain Grams: no pass over rows.

    Parameters
    ----------
    folds
        From `partials.by_fold`.
    penalty
        ``(K, J)`` or whatever broadcasts to it, positive: without one a separable treatment has
        no maximum.
    rows
        The outcome whose observed rows are used; empty for all rows. Passes take the same rows.
    """
    system = System(rows, ())
    grams = [gram_of(layout, sums, system) for sums in folds]
    k, j, p = len(folds), len(treatments), layout.p
    strength = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (k, j)).copy()
    weight = np.array([without(grams, fold).weight for fold in range(k)])
    begin, hessian = np.zeros((k, j, p)), np.zeros((k, j, p, p))
    gradient = np.zeros((k, j, p))
    for fold in range(k):
        training = without(grams, fold)
        for i, name in enumerate(treatments):
            column = layout.treatments.index(name)
            share = _share(training, column, layout.centre[column], name)
            begin[fold, i, 0] = np.log(share / (1.0 - share))
            hessian[fold, i] = share * (1.0 - share) * training.values[:p, :p]
            gradient[fold, i] = (share - layout.centre[column]) * training.values[:p, 0]
            gradient[fold, i] -= training.values[:p, p + column]
    state = Logistic(
        tuple(treatments),
        strength,
        weight,
        begin,
        begin,
        np.full((k, j), np.inf),
        hessian,
        np.full(j, np.inf),
        np.full(j, SHARED),
    )
    for fold in range(k):
        for i in range(j):
            hessian[fold, i] += _penalty(state, fold, i)
    with one_thread():
        return _step(state, gradient, state.hessian)[0]


def _share(training: Gram, column: int, centre: float, name: str) -> float:
    share = float(training.values[0, training.p + column] / training.weight) + centre
    if not 0.0 < share < 1.0:
        raise NotEstimableError(
            f"treatment {name!r} is constant in the training rows of a fold",
            code="constant_treatment",
            where=Where(column=name),
            remedy="take a longer window, or leave the treatment out",
        )
    return share


def advance(state: Logistic, parts: Iterable[tuple[int, int, LogisticSums]]) -> Logistic:
    """Take the step that a pass over all rows allows.

    Parameters
    ----------
    parts
        The leaves (or aligned subtrees) of all workers, each fold's in ascending order.

    Raises
    ------
    NotEstimableError
        ``no_convergence`` after `PASSES` passes.
    """
    folds = _by_fold(state, parts)
    total = folds[0]
    for each in folds[1:]:
        total = total + each
    slopes = state.coefficients.copy()
    slopes[..., 0] = 0.0
    scale = state.penalty * state.weight[:, None]
    gradient = total.gradient + scale[..., None] * slopes
    objective = total.loss + scale * (slopes**2).sum(axis=2) / 2.0
    hessian = _hessian(state, folds, total)
    with one_thread():
        stepped, length = _step(state, gradient, hessian)
    # a step that made a fit worse is halved; rounding alone is no worse
    worse = objective > state.objective + 1e-12 * np.abs(objective)
    halved = (state.previous + state.coefficients) / 2.0
    longest = np.where(worse, np.inf, length).max(axis=0)
    following = replace(
        stepped,
        coefficients=np.where(worse[..., None], halved, stepped.coefficients),
        previous=np.where(worse[..., None], state.previous, state.coefficients),
        objective=np.where(worse, state.objective, objective),
        hessian=hessian,
        length=longest,
        ask=_ask(state, longest),
        passes=state.passes + 1,
        done=bool((longest <= SMALL_STEP).all()),
    )
    if not following.done and following.passes >= PASSES:
        raise _no_convergence(following)
    return following


def _ask(state: Logistic, length: Doubles) -> NDArray[np.int64]:
    """Keep a Hessian that serves, take a shared one while far, own ones where that is slow."""
    slow = length > SLOW * state.length
    settled = length <= SMALL_STEP
    better = np.where((state.ask >= SHARED) & slow & (length <= 1.0), OWN, SHARED)
    return np.where(settled | (~slow & (length <= SLOW)), KEEP, better)


def _hessian(state: Logistic, folds: Sequence[LogisticSums], total: LogisticSums) -> Doubles:
    """``(K, J, p, p)`` with the new Hessians that the pass brought."""
    k, _, p = state.coefficients.shape
    hessian = state.hessian.copy()
    for at, j in enumerate(state.asking(SHARED)):
        whole = unpack(total.shared[at], p)
        for fold in range(k):
            hessian[fold, j] = whole - unpack(folds[fold].shared[at], p)
            hessian[fold, j] += _penalty(state, fold, j)
    for at, j in enumerate(state.asking(OWN)):
        for fold in range(k):
            hessian[fold, j] = unpack(total.own[fold, at], p) + _penalty(state, fold, j)
    return hessian


def _penalty(state: Logistic, fold: int, j: int) -> Doubles:
    diagonal = np.full(state.coefficients.shape[2], state.penalty[fold, j] * state.weight[fold])
    diagonal[0] = 0.0
    return np.diag(diagonal)


def _no_convergence(state: Logistic) -> NotEstimableError:
    name = state.treatments[int(np.argmax(state.length))]
    return NotEstimableError(
        f"the propensity of {name!r} has not settled after {PASSES} passes",
        code="no_convergence",
        where=Where(column=name),
        remedy="look for covariates that give the treatment away, or raise the penalty",
    )


def _by_fold(state: Logistic, parts: Iterable[tuple[int, int, LogisticSums]]) -> list[LogisticSums]:
    k, j, p = state.coefficients.shape
    trees: list[Tree[LogisticSums]] = [Tree() for _ in range(k)]
    for fold, bucket, sums in parts:
        trees[fold].push(bucket, sums)
    size = packed_size(p)
    empty = LogisticSums(
        np.zeros((k, j, p)),
        np.zeros((k, j)),
        np.zeros((len(state.asking(SHARED)), size)),
        np.zeros((k, len(state.asking(OWN)), size)),
    )
    return [tree.result() or empty for tree in trees]


def _step(state: Logistic, gradient: Doubles, hessian: Doubles) -> tuple[Logistic, Doubles]:
    """Newton step of every model, and its length: ``(K, J)``."""
    step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
    curvature = (step * gradient).sum(axis=2)
    length = np.sqrt(np.maximum(curvature, 0.0) / state.weight[:, None])
    return replace(state, coefficients=state.coefficients - step), length


def fit_logistic(
    layout: Layout,
    folds: Sequence[Sums],
    batches: Callable[[], Iterable[Rows]],
    treatments: Sequence[str],
    penalty: Doubles,
) -> Logistic:
    """Fit in this process; `batches` gives all rows anew for every pass, by ascending bucket."""
    state = start(layout, folds, treatments, penalty)
    while not state.done:
        now = state
        parts = (part for rows in batches() for part in logistic_pass(layout, rows, now))
        state = advance(state, parts)
    return state
