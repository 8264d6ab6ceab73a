"""A study file as far as it is readable: rules judge these parts even where others are broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from conf.document import Document, Place
from conf.sql import UnitSql, read_unit_sql
from estimators.catalog import CORRECTIONS, METHODS, TreatmentKind, corrections_of
from estimators.effects import arm_column, arms_asked, model_name


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """One effect that an entry of `effects:` asks for.

    `treatment_kind` is the instrument's where there is one; `drops` outcomes that are missing;
    `correction` is that of a predicted outcome.
    """

    effect_id: str
    method: str
    treatment_kind: str | None
    drops: bool
    place: Place
    correction: str | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a study file.

    Attributes
    ----------
    sql
        The unit SQL; None where the file has none.
    treatments, instruments, outcomes
        Kind by name; None where the kind is not readable.
    covariates
        Names with their places.
    history
        Columns of history with their places.
    effects
        The effects that can be named.
    """

    doc: Document
    sql: UnitSql | None
    treatments: Mapping[str, str | None]
    instruments: Mapping[str, str | None]
    outcomes: Mapping[str, str | None]
    covariates: tuple[tuple[str, Place], ...]
    history: Mapping[str, Place]
    effects: tuple[PlannedEffect, ...]

    @property
    def unit_columns(self) -> list[str] | None:
        """Output columns of the unit SQL; None where it cannot be read."""
        if self.sql is None or self.sql.columns is None:
            return None
        return list(self.sql.columns)

    @property
    def outcome_columns(self) -> dict[str, str]:
        """The unit SQL's column of each outcome: its own name, or its prediction's."""
        return {
            name: self.doc.text("outcomes", name, "predicted", "column") or name
            for name in self.outcomes
        }

    @property
    def predicts(self) -> bool:
        """Whether an outcome is a prediction."""
        return any(self.doc.mapping("outcomes", name, "predicted") for name in self.outcomes)

    @property
    def windowed(self) -> bool:
        """Whether the study has windows."""
        return self.doc.text("window", "every") not in (None, "all")

    def line_of_sql(self, place: Place, line: int) -> int:
        """The file's line for a line of SQL; folded and quoted texts have only their key's."""
        first = self.doc.blocks.get(place)
        return self.doc.line(place) if first is None else first + line - 1

    @property
    def all_effects_read(self) -> bool:
        """Whether each entry of `effects:` could be named."""
        return len({effect.place for effect in self.effects}) == len(self.doc.items("effects"))


def read_parts(doc: Document) -> Parts:
    """Read the parts of a document."""
    sql = doc.text("units", "sql")
    windowed = doc.text("window", "every") not in (None, "all")
    sections = ("treatments", "instruments", "outcomes")
    treatments, instruments, outcomes = (_kinds(doc, name) for name in sections)
    return Parts(
        doc,
        read_unit_sql(sql, list(doc.mapping("sources")), windowed=windowed) if sql else None,
        treatments,
        instruments,
        outcomes,
        tuple(doc.texts("covariates")),
        _history(doc),
        tuple(_effects(doc, treatments, instruments, outcomes)),
    )


def _kinds(doc: Document, section: str) -> dict[str, str | None]:
    def kind(value: Any) -> str | None:
        given = value.get("kind") if isinstance(value, dict) else value
        return given if given in get_args(TreatmentKind) else None

    return {name: kind(value) for name, value in doc.mapping(section).items()}


def _history(doc: Document) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for name in doc.mapping("history"):
        for column in doc.mapping("history", name, "columns"):
            found.setdefault(column, ("history", name, "columns", column))
    return found


def _correct(doc: Document, outcome: str) -> str | None:
    """The outcome's `correct`; None where it is no prediction."""
    place = ("outcomes", outcome, "predicted")
    if not doc.mapping(*place):
        return None
    given = doc.text(*place, "correct")
    return given if given in (*CORRECTIONS, "none") else "auto"


def arms_of(doc: Document, treatment: str) -> tuple[str, ...]:
    """The arms that a treatment declares."""
    return tuple(text for text, _ in doc.texts("treatments", treatment, "arms"))


def named_instrument(
    doc: Document, index: int, instruments: Mapping[str, str | None]
) -> str | None:
    """The instrument of an entry of `effects:`: the named, or the study's only one."""
    return doc.text("effects", index, "instrument") or next(iter(instruments), None)


def _effects(
    doc: Document,
    treatments: Mapping[str, str | None],
    instruments: Mapping[str, str | None],
    outcomes: Mapping[str, str | None],
) -> list[PlannedEffect]:
    found = []
    for index, entry in enumerate(doc.items("effects")):
        place = ("effects", index)
        method = doc.text(*place, "method")
        if method not in METHODS or not isinstance(entry, dict):
            continue
        estimand = entry.get("estimand") or METHODS[method].estimands[0]
        moved = instruments.get(named_instrument(doc, index, instruments) or "")
        found += [
            PlannedEffect(
                f"{model_name(method, correction)}.{estimand}.{exposure}.{outcome}",
                method,
                moved if METHODS[method].instruments else kind,
                doc.text("outcomes", outcome, "missing") not in (None, "error"),
                place,
                correction,
            )
            for treatment, kind in treatments.items()
            for outcome in outcomes
            for exposure in _exposures(doc, treatment, estimand)
            for correction in corrections_of(_correct(doc, outcome), method)
            if entry.get("treatment") in (None, treatment)
            and entry.get("outcome") in (None, outcome)
        ]
    return found


def _exposures(doc: Document, treatment: str, estimand: str) -> list[str]:
    """The treatment in effect ids: itself, or each of its arms."""
    control = doc.text("treatments", treatment, "control")
    asked = arms_asked(estimand, arms_of(doc, treatment), control)
    return [arm_column(treatment, arm) for arm, _ in asked]
