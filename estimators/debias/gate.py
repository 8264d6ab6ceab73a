"""The gate: whether predictions serve as they are, corrected, or only with labels (PPI).

A correction is right where P(Yhat | Y) is stable between groups, the naive effect where
P(Y | Yhat) is; the predictions alone cannot tell. Labelled rows can: by arm (and declared group)
the mean of Y - Yhat, or of corrected - Y, must be zero. Not rejecting is no evidence, so that the
difference must also be shown to lie within a margin. Groups must never be picked by the
prediction itself: within them, regression to the mean breaks every candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Doubles = NDArray[np.float64]
Answer = Literal["naive_ok", "correct", "ppi", "untested"]
Found = Literal["fine", "wrong", "unclear"]

LEVEL = 0.05
MARGIN = 0.1
"""Default margin of equivalence, in standard deviations of the truth."""

MIN_STRATUM = 30
"""Fewer labelled rows in a stratum say nothing: the answer is ``untested``."""

RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class StratumMeans:
    """Mean of candidate - truth on labelled rows, by stratum: G strata.

    Attributes
    ----------
    candidate
        ``none`` (the prediction as it is), ``lcc``, ``tweedie``.
    strata
        Names, length G: ``arm=1`` or ``arm=1, group=north``.
    n
        ``(G,)`` labelled rows.
    difference, covariance
        ``(G,)`` and ``(G, G)``: means, and their covariance with the correction's own share.
    sd
        Standard deviation of the truth over all labelled rows.
    draws
        Calibration draws behind the covariance; None where it is closed.
    """

    candidate: str
    strata: tuple[str, ...]
    n: NDArray[np.int64]
    difference: Doubles
    covariance: Doubles
    sd: float
    draws: int | None = None


@dataclass(frozen=True, slots=True)
class StratumTest:
    """Joint Wald test of zero differences, and equivalence stratum by stratum.

    Attributes
    ----------
    means
        What was tested.
    statistic, df, p_value
        The Wald statistic over the covariance's range, its rank, and its p-value.
    reach
        ``(G,)`` the farther end of each stratum's ``1 - 2 level`` interval, in the truth's unit.
    margin
        The bound of `reach`, in the truth's unit.
    found
        ``wrong``: the Wald test rejects. ``fine``: it does not, and every stratum lies within the
        margin. ``unclear``: it does not, and too few labels show the rest.
    """

    means: StratumMeans
    statistic: float
    df: int
    p_value: float
    reach: Doubles
    margin: float
    found: Found


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's answer and its table.

    Attributes
    ----------
    answer
        ``naive_ok``, ``correct``, ``ppi`` or ``untested``.
    correction
        What `answer` says to use: ``none``, ``lcc``, ``tweedie``, ``ppi``; None where untested.
    tests
        The naive test first, then each correction's.
    reason
        In words, for the record.
    """

    answer: Answer
    correction: str | None
    tests: tuple[StratumTest, ...]
    reason: str

    def test(self, candidate: str) -> StratumTest | None:
        """A candidate's test, None where it was not tested."""
        return next((each for each in self.tests if each.means.candidate == candidate), None)

    def table(self) -> list[dict[str, Any]]:
        """A row a candidate and stratum, differences in standard deviations of the truth."""
        return [
            {
                "candidate": test.means.candidate,
                "stratum": stratum,
                "n": int(test.means.n[g]),
                "difference": float(test.means.difference[g] / test.means.sd),
                "se": float(np.sqrt(test.means.covariance[g, g]) / test.means.sd),
                "reach": float(test.reach[g] / test.means.sd),
                "margin": test.margin / test.means.sd,
                "wald_p": test.p_value,
                "found": test.found,
            }
            for test in self.tests
            for g, stratum in enumerate(test.means.strata)
        ]


def examine(means: StratumMeans, *, level: float = LEVEL, margin: float = MARGIN) -> StratumTest:
    """Test one candidate.

    The covariance may be singular (LCC's residuals on its own calibration rows sum to zero): the
    statistic is then over its range, with as many degrees of freedom. With a covariance from
    draws it is Hotelling's, referred to F.
    """
    statistic, df = _wald(means.difference, means.covariance)
    if means.draws is None:
        p_value = float(stats.chi2.sf(statistic, df))
    else:
        rest = means.draws - df
        p_value = float(stats.f.sf(statistic * rest / (df * (means.draws - 1)), df, rest))
    se = np.sqrt(np.diag(means.covariance))
    reach = np.abs(means.difference) + stats.norm.ppf(1.0 - level) * se
    bound = margin * means.sd
    found: Found = "unclear"
    if p_value < level:
        found = "wrong"
    elif np.all(reach <= bound):
        found = "fine"
    return StratumTest(means, statistic, df, p_value, reach, bound, found)


def _wald(difference: Doubles, covariance: Doubles) -> tuple[float, int]:
    values, vectors = np.linalg.eigh(covariance)
    used = values > RANK_TOLERANCE * values.max()
    along = vectors[:, used].T @ difference
    return float(np.sum(along**2 / values[used])), int(np.count_nonzero(used))


def decide(
    naive: StratumMeans | None,
    corrections: Sequence[StratumMeans] = (),
    *,
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Gate:
    """Answer from the strata's sums: naive if fine, else the first correction that is, else PPI.

    Parameters
    ----------
    naive
        Of the uncorrected prediction; None where no labelled rows tell their arm.
    corrections
        Candidates in order of preference.
    """
    if naive is None:
        return Gate("untested", None, (), "no labelled rows by arm: nothing speaks for a choice")
    thin = [
        f"{name} has {n}" for name, n in zip(naive.strata, naive.n.tolist(), strict=True)
        if n < MIN_STRATUM
    ]  # fmt: skip
    if thin:
        reason = f"{', '.join(thin)} labelled rows; expected {MIN_STRATUM} in every stratum"
        return Gate("untested", None, (), reason)
    tests = tuple(examine(each, level=level, margin=margin) for each in (naive, *corrections))
    if tests[0].found == "fine":
        return Gate("naive_ok", "none", tests, "mean(Y - Yhat) is zero within the margin by arm")
    for test in tests[1:]:
        if test.found == "fine":
            name = test.means.candidate
            reason = f"the prediction is {tests[0].found}; {name} is zero within the margin by arm"
            return Gate("correct", name, tests, reason)
    found = ", ".join(f"{each.means.candidate} is {each.found}" for each in tests)
    return Gate("ppi", "ppi", tests, f"{found}: only labels give the effect")
