"""The two arms that a check compares: control and treated, control and arm, everyone and an arm.

In tallies they are ``0`` and ``1`` by their place, in what is found they have their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from estimators.effects import EffectSpec

ARMS = ("0", "1")
Value = TypeVar("Value")


def by_name(effect: EffectSpec, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values by the arms' names instead of their places."""
    names = dict(zip(ARMS, effect.arms, strict=True))
    return {names[place]: value for place, value in values.items()}


def facts(effect: EffectSpec) -> dict[str, Any]:
    """Which arms of what were compared; nothing of a binary treatment, whose arms are 0 and 1."""
    if effect.arm is None and effect.instrument is None:
        return {}
    return {"treatment": effect.instrument or effect.treatment, "arms": list(effect.arms)}


def weighting_of(effect: EffectSpec) -> str:
    """The record's name of the effect's weights."""
    return effect.estimand if effect.estimand in ("att", "atu", "ato") else "ipw"
