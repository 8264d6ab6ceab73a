"""Where the simulations' rows come from: the paper's world, and channels whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests.coverage.debias.nets import (
    Doubles,
    Embedding,
    Loss,
    Predictor,
    Singles,
    ratledge,
    squared,
    train,
)

NOISE = 0.3


@dataclass(frozen=True, slots=True)
class People:
    """C ~ N(0,1); A ~ Bernoulli(expit C); Y = tau A + C + N(0,1)."""

    propensity: Doubles
    arm: Doubles
    outcome: Doubles

    @staticmethod
    def draw(n: int, tau: float, generator: np.random.Generator) -> People:
        c = generator.standard_normal(n)
        propensity = 1.0 / (1.0 + np.exp(-c))
        arm = (generator.random(n) < propensity).astype(np.float64)
        return People(propensity, arm, tau * arm + c + generator.standard_normal(n))

    @property
    def balance(self) -> Doubles:
        """Horvitz-Thompson's signed weights A/e - (1-A)/(1-e), ``(n,)``."""
        return self.arm / self.propensity - (1.0 - self.arm) / (1.0 - self.propensity)

    @property
    def weight(self) -> Doubles:
        """1/e in the treated arm, 1/(1-e) in the other, ``(n,)``."""
        return np.abs(self.balance)

    @property
    def label(self) -> NDArray[np.int64]:
        """The arm as a label."""
        return self.arm.astype(np.int64)


class Channel(Protocol):
    """Predictions from outcomes: P(Yhat | Y), the same for everybody (label shift holds)."""

    def __call__(self, y: Doubles, generator: np.random.Generator) -> Doubles:
        """One prediction an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Mapped:
    """X = g(Y) + N(0, 0.3^2) in R^100 and Yhat = f(X)."""

    embedding: Embedding
    predictor: Predictor

    def __call__(self, y: Doubles, generator: np.random.Generator) -> Doubles:
        return self.predictor(see(self.embedding, y, generator))


def see(embedding: Embedding, y: Doubles, generator: np.random.Generator) -> Singles:
    """X for outcomes Y."""
    x = embedding(y, generator)
    return x + np.float32(NOISE) * generator.standard_normal(x.shape, dtype=np.float32)


def ridge(x: Singles, y: Doubles, penalty: float = 1.0) -> Predictor:
    """A ridge regression as a predictor with a single linear layer."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + np.float32(1e-6)
    z = ((x - mean) / scale).astype(np.float64)
    weight = np.linalg.solve(z.T @ z + penalty * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    layer = weight[:, None].astype(np.float32), np.array([y.mean()], dtype=np.float32)
    return Predictor(mean, scale, [layer])


def upstream(
    kind: str, seed: np.random.SeedSequence, *, tau: float = 2.0, n: int = 8_000,
    embedding: Embedding | None = None, loss: Loss = squared,
) -> Mapped:  # fmt: skip
    """The upstream team: a predictor (`net` or `ridge`) trained on n rows at effect `tau`."""
    for_embedding, for_rows, for_fit = (np.random.default_rng(each) for each in seed.spawn(3))
    g = embedding or Embedding.draw(for_embedding)
    people = People.draw(n, tau, for_rows)
    x = see(g, people.outcome, for_rows)
    if kind == "ridge":
        return Mapped(g, ridge(x, people.outcome))
    return Mapped(g, train(x, people.outcome, for_fit, loss))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Yhat from a normal mixture, Y = Yhat + N(0, s^2), turned round: P(Yhat | Y) in closed form.

    Tweedie's assumption holds to the letter; LCC's (a straight E[Yhat | Y]) where there is one
    component.
    """

    share: Doubles
    mean: Doubles
    variance: Doubles
    noise: float

    def calibrate(self, n: int, generator: np.random.Generator) -> tuple[Doubles, Doubles]:
        """Calibration rows ``(Yhat, Y)``."""
        part = generator.choice(len(self.share), n, p=self.share)
        f = self.mean[part] + np.sqrt(self.variance[part]) * generator.standard_normal(n)
        return f, f + np.sqrt(self.noise) * generator.standard_normal(n)

    def __call__(self, y: Doubles, generator: np.random.Generator) -> Doubles:
        total = self.variance + self.noise
        log = np.log(self.share / np.sqrt(total)) - 0.5 * (y[:, None] - self.mean) ** 2 / total
        odds = np.exp(log - log.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        part = (generator.random(len(y))[:, None] > np.cumsum(odds, axis=1)).sum(axis=1)
        part = np.minimum(part, len(self.share) - 1)
        gain = self.variance[part] / total[part]
        centre = self.mean[part] + gain * (y - self.mean[part])
        return centre + np.sqrt(gain * self.noise) * generator.standard_normal(len(y))


def gaussian(variance: float, noise: float, mean: float = 0.0) -> Mixture:
    """One component: both LCC and Tweedie are right."""
    return Mixture(np.ones(1), np.array([mean]), np.array([variance]), noise)


def ratledge_loss(truth: Doubles, weight: float) -> Loss:
    """Ratledge's loss with the fifths of `truth`."""
    return ratledge(np.quantile(truth, [0.2, 0.4, 0.6, 0.8]), weight)


@dataclass(frozen=True, slots=True)
class Straight:
    """Yhat = m + k Y + N(0, k (1 - k) V): a calibrated predictor of outcomes of variance V.

    LCC is right whatever the outcomes' distribution; Tweedie only nearly, unless it is normal.
    """

    slope: float
    mean: float
    variance: float

    def __call__(self, y: Doubles, generator: np.random.Generator) -> Doubles:
        spread = np.sqrt(self.slope * (1.0 - self.slope) * self.variance)
        centre = self.mean + self.slope * (y - self.mean)
        return centre + spread * generator.standard_normal(len(y))


def straight(slope: float, tau: float) -> Straight:
    """The straight channel that is calibrated on people at effect `tau`.

    Their outcome has mean tau/2 and variance 2 + tau^2/4 + 2 tau Cov(A, C).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    shared = float(weights @ (nodes / (1.0 + np.exp(-nodes)))) / np.sqrt(2.0 * np.pi)
    return Straight(slope, tau / 2.0, 2.0 + tau**2 / 4.0 + 2.0 * tau * shared)
