"""What a check finds: figures with the facts behind them, before any threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of a check.

    Attributes
    ----------
    effect_id
        The effect that it is about; None for the whole study.
    metric
        A metric of the check in the catalogue.
    value
        The figure, None where it cannot be had.
    detail
        The facts behind it, JSON values: what figures and notes are drawn from.
    """

    effect_id: str | None
    metric: str
    value: float | None
    detail: Mapping[str, Any] = field(default_factory=dict)
