"""The two nets of the paper's simulation, in numpy: one frozen and random, one trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
Layer = tuple[Singles, Singles]
Loss = Callable[[Doubles, Doubles], tuple[float, Doubles]]
"""``loss(prediction, truth)`` and its gradient by prediction."""

DROPOUT = 0.2


def random_layers(widths: list[int], generator: np.random.Generator) -> list[Layer]:
    """Weights and biases uniform within ``1/sqrt(inputs)``, torch's default."""
    layers = []
    for before, after in itertools.pairwise(widths):
        bound = 1.0 / np.sqrt(before)
        weight = generator.uniform(-bound, bound, (before, after)).astype(np.float32)
        layers.append((weight, generator.uniform(-bound, bound, after).astype(np.float32)))
    return layers


@dataclass(frozen=True, slots=True)
class Embedding:
    """g: 1-50-50-50-100, ReLU, dropout 0.2 left on: every row has masks of its own."""

    layers: list[Layer]

    @staticmethod
    def draw(generator: np.random.Generator) -> Embedding:
        return Embedding(random_layers([1, 50, 50, 50, 100], generator))

    def __call__(self, y: Doubles, generator: np.random.Generator) -> Singles:
        h = y.astype(np.float32)[:, None]
        for weight, bias in self.layers[:-1]:
            h = np.maximum(h @ weight + bias, np.float32(0.0))
            # Four of five units are kept, and scaled so that the mean stays.
            kept = generator.integers(0, 5, h.shape, dtype=np.uint8) > 0
            h = h * kept * np.float32(1.0 / (1.0 - DROPOUT))
        weight, bias = self.layers[-1]
        return h @ weight + bias


@dataclass(frozen=True, slots=True)
class Predictor:
    """f: 100-64-32-32-1 on standardised columns."""

    mean: Singles
    scale: Singles
    layers: list[Layer]

    def __call__(self, x: Singles) -> Doubles:
        return _forward(self.layers, (x - self.mean) / self.scale)[-1][:, 0].astype(np.float64)


def _forward(layers: list[Layer], x: Singles) -> list[Singles]:
    values = [x]
    for weight, bias in layers[:-1]:
        values.append(np.maximum(values[-1] @ weight + bias, np.float32(0.0)))
    weight, bias = layers[-1]
    values.append(values[-1] @ weight + bias)
    return values


def squared(prediction: Doubles, truth: Doubles) -> tuple[float, Doubles]:
    """Mean squared error."""
    gap = prediction - truth
    return float(np.mean(gap**2)), 2.0 * gap / len(gap)


def ratledge(edges: Doubles, weight: float) -> Loss:
    """Squared error and `weight` times the largest squared mean error over fifths of the truth.

    Source: Ratledge et al. 2022, *Using machine learning to assess the livelihood impact of
    electricity access*, Nature 611.
    """

    def loss(prediction: Doubles, truth: Doubles) -> tuple[float, Doubles]:
        value, gradient = squared(prediction, truth)
        fifth = np.clip(np.searchsorted(edges, truth, side="right"), 0, len(edges))
        count = np.maximum(np.bincount(fifth, minlength=len(edges) + 1), 1)
        bias = np.bincount(fifth, prediction - truth, len(edges) + 1) / count
        worst = int(np.argmax(bias**2))
        gradient = gradient + weight * 2.0 * bias[worst] * (fifth == worst) / count[worst]
        return value + weight * float(bias[worst] ** 2), gradient

    return loss


def train(
    x: Singles,
    y: Doubles,
    generator: np.random.Generator,
    loss: Loss = squared,
    *,
    batch: int = 500,
    most: int = 200,
    patience: int = 15,
) -> Predictor:
    """Adam with early stopping on a tenth of the *training* rows, never on calibration rows."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + np.float32(1e-6)
    rows = generator.permutation(len(x))
    held, used = rows[: len(x) // 10], rows[len(x) // 10 :]
    scaled = (x - mean) / scale
    layers = random_layers([x.shape[1], 64, 32, 32, 1], generator)
    best, best_loss, waited = layers, np.inf, 0
    state = [np.zeros_like(each) for layer in layers for each in layer]
    first, second, step = state, [each.copy() for each in state], 0
    for _ in range(most):
        for part in np.array_split(generator.permutation(used), len(used) // batch):
            step += 1
            layers = _adam(layers, scaled[part], y[part], loss, (first, second, step))
        found = loss(_forward(layers, scaled[held])[-1][:, 0].astype(np.float64), y[held])[0]
        if found < best_loss:
            best, best_loss, waited = layers, found, 0
        elif (waited := waited + 1) > patience:
            break
    return Predictor(mean, scale, best)


def _adam(
    layers: list[Layer], x: Singles, y: Doubles, loss: Loss,
    state: tuple[list[Singles], list[Singles], int],
) -> list[Layer]:  # fmt: skip
    values = _forward(layers, x)
    delta = loss(values[-1][:, 0].astype(np.float64), y)[1][:, None].astype(np.float32)
    gradients: list[Singles] = []
    for (weight, _), inputs in zip(reversed(layers), reversed(values[:-1]), strict=True):
        gradients = [inputs.T @ delta, delta.sum(axis=0), *gradients]
        delta = (delta @ weight.T) * (inputs > 0.0)
    first, second, step = state
    moved = []
    for i, (old, gradient) in enumerate(
        zip((each for layer in layers for each in layer), gradients, strict=True)
    ):
        first[i] += 0.1 * (gradient - first[i])
        second[i] += 0.001 * (gradient**2 - second[i])
        rate = 1e-3 * np.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        moved.append(old - np.float32(rate) * first[i] / (np.sqrt(second[i]) + 1e-8))
    return [(moved[i], moved[i + 1]) for i in range(0, len(moved), 2)]
