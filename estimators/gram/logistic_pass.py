"""One worker's share of a pass over rows for logistic fits: gradients, losses, weighted Grams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators.errors import ContractError, Where
from estimators.gram.accumulate import Blocks, check, in_leaves, leaves, weigh
from estimators.gram.blas import Doubles, one_thread, pack, packed_size
from estimators.gram.columns import Rows
from estimators.gram.layout import Layout
from estimators.gram.predict import probability
from estimators.gram.products import HOST, Products

KEEP, SHARED, OWN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class LogisticSums:
    """What a pass adds up over the rows of a leaf; two can be added.

    Attributes
    ----------
    gradient
        ``(K, J, p)`` of the loss; zero for the model that leaves the leaf's fold out.
    loss
        ``(K, J)``.
    shared
        ``(J_1, packed)`` weighted Grams at the mean of the K fits, of treatments that ask for it.
    own
        ``(K, J_2, packed)`` weighted Grams at each fit; zero for the one without the leaf's fold.
    """

    gradient: Doubles
    loss: Doubles
    shared: Doubles
    own: Doubles

    def __add__(self, other: LogisticSums) -> LogisticSums:
        return LogisticSums(
            self.gradient + other.gradient,
            self.loss + other.loss,
            self.shared + other.shared,
            self.own + other.own,
        )


@dataclass(frozen=True, slots=True)
class Logistic:
    """Fits of J binary treatments without each of K folds, finished or on the way.

    Attributes
    ----------
    treatments
        Names.
    penalty
        ``(K, J)``: the objective is ``sum w loss + penalty sum(w) |b|^2 / 2``, constant free.
    weight
        ``(K,)`` sums of the training weights.
    coefficients
        ``(K, J, p)``, the constant first, on the treatment's own scale (0 and 1).
    previous, objective
        The last accepted coefficients and their objectives ``(K, J)``; infinite at the start.
    hessian
        ``(K, J, p, p)`` used for the steps, penalty included.
    length
        ``(J,)`` largest Newton step of the last pass.
    ask
        ``(J,)`` the Hessian that the next pass takes: `KEEP`, `SHARED` or `OWN`.
    passes
        Passes made.
    done
        The coefficients are final.
    """

    treatments: tuple[str, ...]
    penalty: Doubles
    weight: Doubles
    coefficients: Doubles
    previous: Doubles
    objective: Doubles
    hessian: Doubles
    length: Doubles
    ask: NDArray[np.int64]
    passes: int = 0
    done: bool = False

    def asking(self, what: int) -> list[int]:
        """Treatments that ask for a kind of Hessian."""
        return [int(j) for j in np.flatnonzero(self.ask == what)]


def logistic_pass(
    layout: Layout, rows: Rows, state: Logistic, products: Products = HOST
) -> list[tuple[int, int, LogisticSums]]:
    """One worker's share of a pass: fold, bucket and sums of each leaf among the rows.

    Raises
    ------
    ContractError
        ``not_binary``: a treatment has values other than 0 and 1.
    """
    check(layout, rows)
    for name in state.treatments:
        values = rows.treatments[name]
        if not bool(((values == 0.0) | (values == 1.0)).all()):
            raise ContractError(
                f"treatment {name!r} has values other than 0 and 1",
                code="not_binary",
                where=Where(column=name),
                remedy="declare it continuous, or cast it to 0 and 1 in the unit SQL",
            )
    blocks = Blocks(layout)
    with one_thread():
        ordered = in_leaves(layout, rows)
        blocks.open(ordered)
        return [
            (fold, bucket, _sums(blocks, leaf, fold, state, products))
            for fold, bucket, leaf in leaves(layout, ordered)
        ]


def _sums(
    blocks: Blocks, leaf: slice, fold: int, state: Logistic, products: Products
) -> LogisticSums:
    k, j, p = state.coefficients.shape
    gradient, loss = np.zeros((k, j, p)), np.zeros((k, j))
    others = [each for each in range(k) if each != fold]
    models = state.coefficients[others].reshape(-1, p)
    pooled = state.coefficients.mean(axis=0)
    shared, own = state.asking(SHARED), state.asking(OWN)
    grams = _Weighted(blocks)
    of_shared = products.totals(p, len(shared))
    of_own = products.totals(p, k * len(own))
    for part, block in blocks.of(leaf):
        regressors = block[:p]
        y = np.stack([part.treatments[name] for name in state.treatments])
        linear = (models @ regressors).reshape(k - 1, j, part.n)
        each = np.maximum(linear, 0.0) - y * linear + np.log1p(np.exp(-np.abs(linear)))
        loss[others] += (each * part.weight).sum(axis=2)
        chance = probability(linear)
        error = (chance - y) * part.weight
        gradient[others] += (error.reshape(-1, part.n) @ regressors.T).reshape(k - 1, j, p)
        if shared:
            for i, share in enumerate(probability(pooled[shared] @ regressors)):
                of_shared.add(grams.weighted(part, regressors, share), i)
        for at, model in enumerate(others if own else []):
            for place, i in enumerate(own, model * len(own)):
                of_own.add(grams.weighted(part, regressors, chance[at, i]), place)
    own_grams = _packed(of_own.result()).reshape(k, len(own), packed_size(p))
    return LogisticSums(gradient, loss, _packed(of_shared.result()), own_grams)


class _Weighted:
    """A buffer for regressors weighted by the root of chance (1 - chance)."""

    def __init__(self, blocks: Blocks) -> None:
        self.buffer = np.empty(blocks.p * blocks.layout.block)

    def weighted(self, rows: Rows, regressors: Doubles, chance: Doubles) -> Doubles:
        scaled = self.buffer[: regressors.size].reshape(regressors.shape)
        np.multiply(regressors, np.sqrt(chance * (1.0 - chance)), out=scaled)
        weigh(rows, scaled)
        return scaled


def _packed(grams: Doubles) -> Doubles:
    """``(count, packed)`` of ``(count, p, p)``."""
    return np.array([pack(each) for each in grams]).reshape(-1, packed_size(grams.shape[-1]))
