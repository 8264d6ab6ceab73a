"""A learner's parameter in a study: whether the value fits, and what would."""

from __future__ import annotations

import math
from typing import Any

from estimators.catalog import Parameter

_TYPES = {int: "a whole number", float: "a number", str: "text"}


def fits(value: Any, parameter: Parameter) -> bool:
    """Whether a value has the type and lies in the range."""
    if value is None:
        return parameter.default is None
    if parameter.type is str:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if parameter.type is int and not isinstance(value, int):
        return False
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    return math.isfinite(value) and low <= value <= high


def rule(parameter: Parameter) -> str:
    """What fits, in words."""
    low, high = parameter.low, parameter.high
    kind = _TYPES[parameter.type]
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}"
    if low is not None:
        return f"{kind}, {low:g} or more"
    return kind if high is None else f"{kind}, {high:g} or less"
