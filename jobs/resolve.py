"""The resolve stage: pin a study's sources, and check it against their schemas. No engine."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlglot
from sqlglot import exp

from conf.document import Document, read_document
from conf.history import parse_aggregate
from conf.load import LoadedStudy
from conf.names import listed, nearest
from conf.plan import correction_tables
from conf.profile import Profile
from conf.study import CalibrationTable, Source, Study, TrainingTable
from conf.windows import Span, duration
from estimators.errors import ContractError, Fault, SourceError, StudyError, UsageError, Where
from jobs.device import check_device
from jobs.lake import Pin, exists, open_table, pin
from jobs.maturity import check_recorded

Table = Source | CalibrationTable | TrainingTable
"""A table of the study's, by path and version."""

_TIMES = ("timestamp", "timestamp_ntz", "date")
_NUMBERS = ("byte", "short", "integer", "long", "float", "double", "decimal")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A study whose sources are pinned, and a window of it.

    Attributes
    ----------
    pins
        Source name to its table at one version.
    seconds
        What resolving took.
    corrections
        Tables that correct predicted outcomes, pinned, by their names among the sources
        (``calibration:wealth``). The unit SQL sees none of them.
    """

    loaded: LoadedStudy
    span: Span
    pins: dict[str, Pin]
    seconds: float
    corrections: dict[str, Pin] = field(default_factory=dict)

    @property
    def every(self) -> dict[str, Pin]:
        """All pinned tables: sources, then those that correct outcomes."""
        return self.pins | self.corrections

    @property
    def sources(self) -> dict[str, int]:
        """Source name to pinned version, as the record holds it."""
        return {name: each.version for name, each in self.every.items()}

    @property
    def table_ids(self) -> dict[str, str]:
        """Source name to Delta table id."""
        return {name: each.table_id for name, each in self.every.items()}

    @property
    def calibrations(self) -> dict[str, tuple[str, int]]:
        """What the crossfit key takes of the tables that correct predicted outcomes."""
        return {name: (each.table_id, each.version) for name, each in self.corrections.items()}


def resolve(
    loaded: LoadedStudy,
    span: Span,
    profile: Profile,
    versions: Mapping[str, int] | None = None,
) -> Resolved:
    """Pin every source and check all that can be checked without an engine.

    Parameters
    ----------
    versions
        Source name to the version to pin; a source that is not here is pinned at the version
        that the study names, or at the newest.

    Raises
    ------
    StudyError
        A path outside the profile's roots, or a column that a source does not have; all faults
        at once.
    SourceError
        A table or a pinned version is not there.
    ContractError
        History would look into the future (`leak`).
    NotMatureError
        The window's outcomes are not all known yet.
    PlatformError
        The profile's device is not there, or a learner does not run on it.
    """
    began = time.perf_counter()
    study = loaded.study
    check_device(study, profile)
    document, _ = read_document(loaded.text, str(loaded.path))
    pins = pin_sources(loaded, profile, versions)
    corrections = pin_corrections(loaded, profile, versions)
    every = (pins | corrections).values()
    faults = [fault for each in every for fault in _column_faults(study, each, document)]
    if faults:
        raise StudyError(faults)
    _refuse_leaks(study, span, pins)
    check_recorded(study, span, pins)
    return Resolved(loaded, span, pins, time.perf_counter() - began, corrections)


def pin_sources(
    loaded: LoadedStudy, profile: Profile, versions: Mapping[str, int] | None = None
) -> dict[str, Pin]:
    """Pin every source, and check nothing but that it is there.

    Raises
    ------
    StudyError, SourceError
        As for `resolve`.
    """
    return _pinned(loaded, loaded.study.sources, profile, versions)


def pin_corrections(
    loaded: LoadedStudy, profile: Profile, versions: Mapping[str, int] | None = None
) -> dict[str, Pin]:
    """Pin the tables that correct predicted outcomes, by their names among the sources.

    Raises
    ------
    StudyError, SourceError
        As for `resolve`.
    """
    return _pinned(loaded, correction_tables(loaded.study), profile, versions)


def _pinned(
    loaded: LoadedStudy,
    tables: Mapping[str, Table],
    profile: Profile,
    versions: Mapping[str, int] | None,
) -> dict[str, Pin]:
    document, _ = read_document(loaded.text, str(loaded.path))
    wanted = {name: each.version for name, each in tables.items()} | dict(versions or {})
    paths = _paths(tables, profile, document)
    return {name: _pin(name, path, wanted[name], document) for name, path in paths.items()}


def _place(name: str) -> tuple[str, ...]:
    """Where the file declares a source, or a table that corrects an outcome."""
    kind, _, outcome = name.partition(":")
    return ("outcomes", outcome, "predicted", kind) if outcome else ("sources", name)


def _paths(tables: Mapping[str, Table], profile: Profile, document: Document) -> dict[str, str]:
    """Absolute path or URI of each table; all of them must lie under an allowed root."""
    roots = [profile.lake_root, *(_filled(root, profile) for root in profile.allowed_roots)]
    paths, faults = {}, []
    for name, each in tables.items():
        path = absolute(_filled(each.table, profile))
        paths[name] = path
        if not any(_below(path, absolute(root)) for root in roots):
            place = (*_place(name), "table")
            faults.append(document.fault(place, f"the table {path}", f"below {listed(roots)}"))
    if faults:
        raise StudyError(faults, remedy="add the folder to `allowed_roots` of the profile")
    return paths


def within_roots(table: str, profile: Profile) -> str:
    """Absolute path or URI of a table that a stage is given; it must lie under an allowed root.

    Raises
    ------
    UsageError
        ``outside_roots``.
    """
    roots = [profile.lake_root, *(_filled(root, profile) for root in profile.allowed_roots)]
    path = absolute(_filled(table, profile))
    if not any(_below(path, absolute(root)) for root in roots):
        raise UsageError(
            f"the table {path} is not below {listed(roots)}",
            code="outside_roots",
            remedy="add the folder to `allowed_roots` of the profile",
        )
    return path


def _filled(path: str, profile: Profile) -> str:
    return path.replace("{lake}", profile.lake_root).replace("{home}", str(profile.home))


def absolute(path: str) -> str:
    """A path without links and dots, or a URI without dots; relative to the working directory."""
    parts = urlsplit(path)
    if parts.scheme in ("", "file"):
        local = unquote(parts.path) if parts.scheme else path
        return os.path.realpath(os.path.expanduser(local))  # no error for a link to itself
    return f"{parts.scheme}://{parts.netloc}{posixpath.normpath(unquote(parts.path) or '/')}"


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root if root.endswith("/") else f"{root}/")


def _pin(name: str, path: str, version: int | None, document: Document) -> Pin:
    if not exists(path):
        near = sorted(_tables_beside(path))
        close = nearest(Path(path).name, near)
        hint = f"; did you mean {close!r}?" if close else ""
        raise SourceError(
            f"no Delta table at {path}{hint} (tables there: {listed(near) if near else 'none'})",
            where=Where(document.file, document.line((*_place(name), "table")), table=name),
            remedy="check `table:` of the source; `causeway demo` writes the demo's tables",
        )
    return pin(name, path, version)


def _tables_beside(path: str) -> Iterator[str]:
    folder = Path(path).parent
    if "://" in path or not folder.is_dir():
        return
    yield from (each.parent.name for each in folder.glob("*/_delta_log"))


def _column_faults(study: Study, pin: Pin, document: Document) -> Iterator[Fault]:
    """Columns of one source that the study names and the table does not have, or not so."""
    fields = open_table(pin.path, pin.version).schema().fields
    kinds = {each.name.casefold(): _kind(each.type) for each in fields}
    shown = [each.name for each in fields]
    for place, column, allowed in _named_columns(study, pin.name):
        kind = kinds.get(column.casefold())
        if kind is None:
            found = f"the column {column!r}, which {pin.name}@{pin.version} does not have"
            yield document.fault(place, found, listed(shown), nearest(column, shown))
        elif allowed and kind not in allowed:
            found = f"the column {column!r} of {pin.name}@{pin.version}, which is of type {kind}"
            yield document.fault(place, found, " or ".join(allowed))


def _kind(kind: object) -> str:
    """Delta's name of a type: ``long``, ``decimal``, ``timestamp``, ``struct``."""
    name = getattr(kind, "type", "struct")
    return str(name).partition("(")[0]


def _named_columns(
    study: Study, name: str
) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    """Place in the file, column and allowed types, for all that the study says of a source."""
    place = _place(name)
    table = correction_tables(study).get(name)
    if table is not None:
        yield from _labelled_columns(table, place)
        return
    source = study.sources[name]
    if source.event_time:
        yield (*place, "event_time"), source.event_time, _TIMES
    for key in ("known_at", "watermark"):
        for column in _columns_of(getattr(source, key) or ""):
            yield (*place, key), column, ()
    for title, history in study.history.items():
        if history.source != name:
            continue
        yield ("history", title, "by"), history.by, ()
        for column, text in history.columns.items():
            aggregate = parse_aggregate(text)
            if aggregate.column is not None:
                allowed = _NUMBERS if aggregate.function in ("sum", "avg") else ()
                yield ("history", title, "columns", column), aggregate.column, allowed


def _labelled_columns(
    table: CalibrationTable | TrainingTable, place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
    """Columns of a calibration, or of the rows that the predictor was trained on."""
    for key, column in table.model_dump(exclude={"table", "version"}).items():
        if column is not None:
            numbers = key in ("prediction", "truth", "weight")
            yield (*place, key), column, _NUMBERS if numbers else ()


def _columns_of(expression: str) -> list[str]:
    """Columns that an SQL expression reads; none where variables of lambdas hide among them."""
    if not expression:
        return []
    tree = sqlglot.parse_one(expression, dialect="spark")
    if tree.find(exp.Lambda):
        return []
    return sorted({column.parts[0].name for column in tree.find_all(exp.Column)})


def _refuse_leaks(study: Study, span: Span, pins: dict[str, Pin]) -> None:
    """Refuse history of an outcome that counts as known at once although it has a horizon.

    An outcome with a horizon is known later than its unit's time; a history over the same column
    would use it from the event on, unless the source says when it is known.
    """
    for history in study.history.values():
        if study.sources[history.source].known_at is not None:
            continue
        for column, text in history.columns.items():
            aggregated = parse_aggregate(text).column
            outcome = study.outcomes.get(aggregated or "")
            if outcome is None or not duration(outcome.horizon):
                continue
            raise ContractError(
                f"{column} = {text} looks ahead: the outcome {aggregated} is known "
                f"{outcome.horizon} after its event, and {history.source} declares no `known_at`",
                code="leak",
                where=Where(
                    table=history.source,
                    version=pins[history.source].version,
                    column=column,
                    window=span.label,
                ),
                remedy=f"declare `known_at:` of {history.source}; where values are known at the "
                f"event, `known_at: {study.sources[history.source].event_time}` says so",
            )
