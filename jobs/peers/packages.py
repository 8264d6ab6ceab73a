"""Packages that estimate a problem: on our folds and predictions, and on folds of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from jobs.peers import doubleml_peer, econml_peer, ours
from jobs.peers.problem import Pair, Problem


class Package(Protocol):
    """How an effect is had: theta and its unclustered standard error."""

    version: str

    def same(self, problem: Problem) -> Pair:
        """On our folds and predictions."""

    def anew(self, problem: Problem, seed: int) -> Pair:
        """Cross-fitted by the package itself, with the same learners."""


OFFERS: dict[str, tuple[str, ...]] = {
    "causeway": ours.OFFERS,
    "doubleml": doubleml_peer.OFFERS,
    "econml": econml_peer.OFFERS,
}
"""Which effects have a counterpart in which package."""

PACKAGES: dict[str, Callable[[], Package]] = {
    "causeway": ours.Causeway,
    "doubleml": doubleml_peer.DoubleML,
    "econml": econml_peer.EconML,
}
