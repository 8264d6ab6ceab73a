"""Columns: they exist, they are named once, none is taken, and none gives the answer away."""

from __future__ import annotations

from collections.abc import Iterator

from conf.document import Place
from conf.leaks import reveals
from conf.names import FEATURES_RESERVED, IDENTIFIER_RULE, is_identifier, listed, nearest
from conf.plan import grouping
from conf.rules.reading import Parts
from estimators.errors import Fault

_ROLES = {"id": "unit_id", "time": "unit_time", "cluster": "cluster_id", "weight": "weight"}
"""Keys of `units`, and the column of the features table that each provides."""

_PREDICTION = ("predicted", "column")

_BEFORE = "columns known before the treatment, which do not contain it or the outcome"


def name_faults(parts: Parts) -> Iterator[Fault]:
    """Names that are no identifiers, that the features table keeps, or that come twice."""
    doc = parts.doc
    sections = ("sources", "history", "treatments", "instruments", "outcomes")
    places: list[Place] = [(section, name) for section in sections for name in doc.mapping(section)]
    history: list[Place] = [
        ("history", name, "columns", column)
        for name in doc.mapping("history")
        for column in doc.mapping("history", name, "columns")
    ]
    for place in (*places, *history):
        if not is_identifier(str(place[-1])):
            yield doc.fault(place, f"the name {place[-1]!r}", IDENTIFIER_RULE)
    predictions: list[tuple[str, Place]] = [
        (column, ("outcomes", name, *_PREDICTION))
        for name, column in parts.outcome_columns.items()
        if column != name
    ]
    for column, place in predictions:
        if not is_identifier(column):
            yield doc.fault(place, f"the name {column!r}", IDENTIFIER_RULE)
    own = [p for p in places if p[0] in sections[2:]]
    yield from _reserved(parts, [*own, *history], predictions)
    yield from _twice(parts, history)


def _reserved(
    parts: Parts, places: list[Place], predictions: list[tuple[str, Place]]
) -> Iterator[Fault]:
    used = [*((str(place[-1]), place) for place in places), *predictions]
    used += [*parts.covariates, *((name, place) for name, place in _groups(parts))]
    rule = f"another name; the features table has its own {listed(FEATURES_RESERVED)}"
    for name, place in used:
        if name.lower() in FEATURES_RESERVED:
            yield parts.doc.fault(place, f"the column name {name!r}", rule)
    provided = {column for key, column in _ROLES.items() if parts.doc.text("units", key) == column}
    taken = set(FEATURES_RESERVED) - provided - {name.lower() for name, _ in used}
    lines = parts.sql.lines if parts.sql is not None else {}
    for column, line in lines.items():
        if column.lower() in taken:
            found = f"the unit SQL's column {column!r}"
            at = parts.line_of_sql(("units", "sql"), line)
            yield parts.doc.fault(("units", "sql"), found, rule, line=at)


def _twice(parts: Parts, history: list[Place]) -> Iterator[Fault]:
    doc = parts.doc
    seen: dict[str, str] = {name.lower(): "the unit SQL" for name in parts.unit_columns or []}
    for place in history:
        name = str(place[-1])
        if name.lower() in seen:
            found = f"the column {name!r} a second time"
            yield doc.fault(place, found, f"a name that {seen[name.lower()]} does not use")
        seen.setdefault(name.lower(), f"history.{place[1]}")
    for name in parts.treatments.keys() & parts.outcomes.keys():
        found = f"{name!r} as a treatment and as an outcome"
        yield doc.fault(("outcomes", name), found, "one of the two")
    known: set[str] = set()
    for name, place in parts.covariates:
        if name in known:
            yield doc.fault(place, f"the covariate {name!r} a second time", "once")
        known.add(name)


def column_faults(parts: Parts) -> Iterator[Fault]:
    """Columns that neither the unit SQL nor history has."""
    unit = parts.unit_columns
    if unit is None:
        return
    every = [*unit, *parts.history]
    doc = parts.doc
    wanted: list[tuple[str, Place, list[str]]] = [
        (name, ("units", key), unit)
        for key in _ROLES
        if (name := doc.text("units", key)) is not None
    ]
    wanted += [(name, ("treatments", name), every) for name in parts.treatments]
    wanted += [(name, ("instruments", name), every) for name in parts.instruments]
    wanted += [
        (column, (section, name, "propensity"), every)
        for section in ("treatments", "instruments")
        for name in doc.mapping(section)
        if (column := doc.text(section, name, "propensity")) is not None
    ]
    wanted += [
        (column, ("outcomes", name) if column == name else ("outcomes", name, *_PREDICTION), unit)
        for name, column in parts.outcome_columns.items()
    ]
    wanted += [(name, place, every) for name, place in parts.covariates]
    wanted += [(name, place, every) for name, place in _groups(parts)]
    for name, place, columns in wanted:
        if name not in columns:
            sources = "the unit SQL" if columns is unit else "the unit SQL or history"
            found = f"`{_role(place)}`: no column {name!r} in {sources}"
            rule = listed(columns) if is_identifier(name) else "names; compute it in the unit SQL"
            yield doc.fault(place, found, rule, nearest(name, columns))


def _role(place: Place) -> str:
    return ".".join(str(step) for step in place[:2]) if place[0] == "units" else str(place[0])


def _groups(parts: Parts) -> Iterator[tuple[str, Place]]:
    for index, _ in enumerate(parts.doc.items("effects")):
        for text, place in parts.doc.texts("effects", index, "by"):
            for column in grouping(text):
                yield column, place


def leak_faults(parts: Parts) -> Iterator[Fault]:
    """Covariates and groups that are a treatment or an outcome, or computed from one."""
    targets = [(name, "treatment") for name in parts.treatments]
    targets += [(name, "outcome") for name in parts.outcomes]
    predictions = set(parts.outcome_columns.values()) - set(parts.outcomes)
    targets += [(name, "outcome's prediction") for name in sorted(predictions)]
    roles = dict(targets)
    for name, place in parts.covariates:
        if name in parts.instruments and name not in roles:
            found = f"the covariate {name!r} is an instrument, of which nothing would be left"
            yield parts.doc.fault(place, found, "one of the two")
    for name, place in (*parts.covariates, *_groups(parts)):
        kind = "covariate" if place[0] == "covariates" else "group"
        if name in roles:
            found = f"leak: the {kind} {name!r} is the {roles[name]}"
            yield parts.doc.fault(place, found, _BEFORE)
        elif kind == "covariate":
            yield from _revealed(parts, name, place, targets)


def _revealed(
    parts: Parts, name: str, place: Place, targets: list[tuple[str, str]]
) -> Iterator[Fault]:
    columns = parts.sql.columns if parts.sql is not None else None
    if columns is None or name not in columns:
        return
    for target, role in targets:
        if target in columns and reveals(
            columns[name], columns[target], target, outcome=role != "treatment"
        ):
            found = f"leak: the covariate {name!r} is the {role} {target!r} in other words"
            yield parts.doc.fault(place, found, _BEFORE)
