"""Effects as data: what is estimated, with which nuisances, and how it is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from estimators.catalog import Kind, TreatmentKind

Spec = Mapping[str, Any]
"""A resolved learner: ``{"learner": name, **all its parameters}``."""


EVERYONE = "(all)"
"""Stands for all units beside an arm."""


@dataclass(frozen=True, slots=True)
class EffectSpec:
    """One effect of one treatment on one outcome, before groups.

    Attributes
    ----------
    by
        Groupings, each a tuple of columns that are crossed: ``(("origin",), ("origin", "month"))``.
    drop_missing
        Rows without the outcome are left out (and attrition is checked).
    clip
        The propensity is clipped to ``[clip, 1 - clip]``.
    outcome_learner, treatment_learner
        Resolved learners, every parameter spelled out.
    arm, control
        Of a categorical treatment: the arm, and the arm that it is compared with (None for the
        arm's own mean).
    instrument, instrument_kind
        What moves the treatment, of methods with an instrument; else None.
    propensity
        Column with the known probability of treatment (with an instrument: of the instrument);
        None where it is estimated.
    joint
        Treatments that PLR regresses on together, this one among them; None for one at a time.
    prediction
        Column of the features table that predicts the outcome; None where it is observed.
    correction
        Of a predicted outcome ``none``, ``lcc``, ``tweedie`` or ``ppi``; else None.
    """

    method: str
    estimand: str
    treatment: str
    treatment_kind: TreatmentKind
    outcome: str
    outcome_kind: Kind
    outcome_learner: Spec
    treatment_learner: Spec
    by: tuple[tuple[str, ...], ...] = field(default=())
    drop_missing: bool = False
    clip: float = 0.01
    prediction: str | None = None
    correction: str | None = None
    arm: str | None = None
    control: str | None = None
    instrument: str | None = None
    instrument_kind: Kind | None = None
    propensity: str | None = None
    joint: tuple[str, ...] | None = None

    @property
    def model(self) -> str:
        """The record's `method`: ``irm``, or ``irm+lcc`` for a corrected outcome."""
        return model_name(self.method, self.correction)

    @property
    def effect_id(self) -> str:
        """``method.estimand.treatment[=arm].outcome``: the record's name of the whole effect."""
        return f"{self.model}.{self.estimand}.{self.exposure}.{self.outcome}"

    @property
    def exposure(self) -> str:
        """The units' treatment that is regressed on: the treatment, or an arm's indicator."""
        return arm_column(self.treatment, self.arm)

    @property
    def exposure_kind(self) -> Kind:
        """Its kind; an arm's indicator is binary."""
        return "binary" if self.treatment_kind == "categorical" else self.treatment_kind

    @property
    def exposures(self) -> tuple[str, ...]:
        """The exposure, and the indicator of the arm that it is compared with."""
        control = () if self.control is None else (arm_column(self.treatment, self.control),)
        return (self.exposure, *control)

    @property
    def assigned(self) -> str:
        """The units' column whose probability is ``m``: the instrument, else the exposure."""
        return self.instrument or self.exposure

    @property
    def assigned_kind(self) -> Kind:
        """Its kind."""
        return self.exposure_kind if self.instrument_kind is None else self.instrument_kind

    @property
    def compared(self) -> str:
        """What checks compare the arms of: ``rain``, ``dose=high``, ``dose=high/none``."""
        return self.assigned if self.control is None else f"{self.assigned}/{self.control}"

    @property
    def arms(self) -> tuple[str, str]:
        """The two arms that checks compare, by name; an arm's mean stands beside everyone."""
        if self.arm is None:
            return ("0", "1")
        return (self.control or EVERYONE, self.arm)

    @property
    def column(self) -> str:
        """The units' outcome that is regressed: of LCC and Tweedie the corrected one.

        PPI works on the scores of the prediction as it is, with its nuisances.
        """
        own = self.correction in ("lcc", "tweedie")
        return f"{self.outcome}+{self.correction}" if own else self.outcome

    @property
    def source(self) -> str:
        """The features table's column of the outcome."""
        return self.prediction or self.outcome


def arm_column(treatment: str, arm: str | None) -> str:
    """Name of a treatment's 0/1 column of an arm: ``dose=high``; the treatment's own without."""
    return treatment if arm is None else f"{treatment}={arm}"


def blocks(effects: Iterable[EffectSpec]) -> list[list[EffectSpec]]:
    """Effects that are solved together, block by block: those of one joint fit on one outcome."""
    found: dict[tuple[tuple[str, ...], str], list[EffectSpec]] = {}
    for each in effects:
        if each.joint is not None:
            found.setdefault((each.joint, each.column), []).append(each)
    return list(found.values())


def arms_asked(
    estimand: str, arms: Sequence[str], control: str | None
) -> tuple[tuple[str | None, str | None], ...]:
    """Arm and control of each effect that an estimand asks of a categorical treatment.

    ``mean``: every arm, without a control; a difference: every other arm with `control`.
    Without arms it is one effect of the whole treatment.
    """
    if not arms:
        return ((None, None),)
    if estimand == "mean":
        return tuple((arm, None) for arm in arms)
    return tuple((arm, control) for arm in arms if arm != control)


@dataclass(frozen=True, slots=True)
class CateSpec:
    """Conditional effects of one binary treatment on one outcome.

    Attributes
    ----------
    learners
        Meta-learners: ``s, t, x, r, dr``.
    final
        The resolved learner of their second stages.
    interactive, partial
        The effects whose nuisances they stand on: (g0, g1, m) and (l, m).
    """

    learners: tuple[str, ...]
    final: Spec
    interactive: EffectSpec
    partial: EffectSpec

    def effect_id(self, learner: str) -> str:
        """The record's name: ``cate.dr.rain.dep_delay``."""
        return f"cate.{learner}.{self.interactive.treatment}.{self.interactive.outcome}"


def model_name(method: str, correction: str | None) -> str:
    """The record's `method` of an effect: the method, with its correction as suffix."""
    return method if correction in (None, "none") else f"{method}+{correction}"


def group_by_name(columns: tuple[str, ...]) -> str:
    """The record's name of a grouping: ``origin`` or ``origin*month``."""
    return "*".join(columns)


def crossed_label(labels: Iterable[str]) -> str:
    r"""Label of a crossed group: ``JFK*3``; a star in a label is ``\*``, so that no two meet."""
    return "*".join(label.replace("\\", "\\\\").replace("*", "\\*") for label in labels)


def grouped_id(effect_id: str, group_by: str, group_value: str) -> str:
    """The record's name of an effect within a group: ``irm.ate.rain.dep_delay@origin=JFK``."""
    return f"{effect_id}@{group_by}={group_value}"
