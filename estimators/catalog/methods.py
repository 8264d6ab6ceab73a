"""Effect models, what corrects predicted outcomes, and learners of conditional effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["binary", "continuous"]
TreatmentKind = Literal["binary", "continuous", "categorical"]


@dataclass(frozen=True, slots=True)
class Method:
    """An effect model.

    Attributes
    ----------
    estimands
        Allowed estimands, the default first.
    treatments, outcomes
        The kinds of variable that it takes.
    instruments
        The kinds of instrument; empty for a method without one.
    nuisances
        Names of the conditional means that it needs (METHODS: ``l``, ``m``, ``g0``, ``g1``).
    """

    title: str
    estimands: tuple[str, ...]
    treatments: tuple[TreatmentKind, ...]
    outcomes: tuple[Kind, ...]
    nuisances: tuple[str, ...]
    source: str
    instruments: tuple[Kind, ...] = ()


_CHERNOZHUKOV = "Chernozhukov et al. 2018, Double/debiased machine learning"

METHODS: dict[str, Method] = {
    "plr": Method(
        "partially linear regression (partialling out)",
        ("slope",),
        ("binary", "continuous"),
        ("continuous", "binary"),
        ("l", "m"),
        _CHERNOZHUKOV,
    ),
    "irm": Method(
        "interactive regression (augmented inverse probability weighting)",
        ("ate", "att", "atu", "ato"),
        ("binary",),
        ("continuous", "binary"),
        ("g0", "g1", "m"),
        _CHERNOZHUKOV,
    ),
    "apo": Method(
        "potential outcomes of many arms (augmented inverse probability weighting)",
        ("mean", "ate"),
        ("categorical",),
        ("continuous", "binary"),
        ("g0", "g1", "m0", "m"),
        "Cattaneo 2010, Efficient semiparametric estimation of multi-valued treatment effects",
    ),
    "pliv": Method(
        "partially linear regression with an instrument (partialling out)",
        ("slope",),
        ("binary", "continuous"),
        ("continuous", "binary"),
        ("l", "m", "r"),
        _CHERNOZHUKOV,
        ("binary", "continuous"),
    ),
    "iivm": Method(
        "interactive regression with a binary instrument (effect on compliers)",
        ("late",),
        ("binary",),
        ("continuous", "binary"),
        ("g0", "g1", "r0", "r1", "m"),
        _CHERNOZHUKOV,
        ("binary",),
    ),
}

OVERLAP_CLIP = 0.01
"""Default bound of the propensity: clipped to [clip, 1 - clip]."""

CORRECTIONS: dict[str, str] = {
    "lcc": "linear calibration correction",
    "tweedie": "Tweedie's correction",
    "ppi": "prediction-powered inference",
}
"""Corrections of predicted outcomes; ``auto`` tries them in this order."""

POWERED = ("irm",)
"""Methods that `ppi` goes with: it needs the arms' means."""

MetaLearner = Literal["s", "t", "x", "r", "dr"]
META_LEARNERS: tuple[MetaLearner, ...] = ("s", "t", "x", "r", "dr")
"""Learners of conditional effects: see `estimators.meta`."""


def corrections_of(correct: str | None, method: str) -> tuple[str | None, ...]:
    """What an effect is estimated with: None for an outcome that is no prediction.

    Parameters
    ----------
    correct
        The outcome's ``correct``; None where it is no prediction. ``none`` (the prediction as it
        is) always comes first; of ``auto`` all that the gate may choose from follows.
    method
        The effect's.
    """
    if correct is None:
        return (None,)
    named = tuple(CORRECTIONS) if correct == "auto" else (correct,)
    fitting = (each for each in named if each != "none" and (each != "ppi" or method in POWERED))
    return ("none", *fitting)
