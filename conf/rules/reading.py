"""A study file as far as it is readable: rules judge these parts even where others are broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conf.document import Document, Place
from conf.sql import UnitSql, read_unit_sql
from estimators.catalog import CORRECTIONS, METHODS, corrections_of
from estimators.effects import model_name


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """One effect that an entry of `effects:` asks for.

    `drops` outcomes that are missing; `correction` is that of a predicted outcome.
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
    treatments, outcomes
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
    treatments, outcomes = _kinds(doc, "treatments"), _kinds(doc, "outcomes")
    return Parts(
        doc,
        read_unit_sql(sql, list(doc.mapping("sources")), windowed=windowed) if sql else None,
        treatments,
        outcomes,
        tuple(doc.texts("covariates")),
        _history(doc),
        tuple(_effects(doc, treatments, outcomes)),
    )


def _kinds(doc: Document, section: str) -> dict[str, str | None]:
    def kind(value: Any) -> str | None:
        given = value.get("kind") if isinstance(value, dict) else value
        return given if given in ("binary", "continuous") else None

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


def _effects(
    doc: Document, treatments: Mapping[str, str | None], outcomes: Mapping[str, str | None]
) -> list[PlannedEffect]:
    found = []
    for index, entry in enumerate(doc.items("effects")):
        place = ("effects", index)
        method = doc.text(*place, "method")
        if method not in METHODS or not isinstance(entry, dict):
            continue
        estimand = entry.get("estimand") or METHODS[method].estimands[0]
        found += [
            PlannedEffect(
                f"{model_name(method, correction)}.{estimand}.{treatment}.{outcome}",
                method,
                kind,
                doc.text("outcomes", outcome, "missing") not in (None, "error"),
                place,
                correction,
            )
            for treatment, kind in treatments.items()
            for outcome in outcomes
            for correction in corrections_of(_correct(doc, outcome), method)
            if entry.get("treatment") in (None, treatment)
            and entry.get("outcome") in (None, outcome)
        ]
    return found
