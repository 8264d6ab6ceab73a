"""The unit table as Spark sees it: pinned sources, the guarded unit SQL, history, plain types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

from conf.document import Document, read_document
from conf.history import parse_aggregate
from conf.names import listed, nearest
from conf.plan import feature_columns, outcome_columns, propensity_columns
from conf.study import History, Study
from estimators.errors import ContractError, Fault, StudyError, Where
from jobs import maturity
from jobs.lake import Pin
from jobs.resolve import Resolved
from jobs.spark.faults import spark_faults
from jobs.spark.history import TIME, Bounds, with_history
from jobs.spark.unit_sql import guarded
from jobs.statistics import magnitude

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_WHOLE = ("byte", "short", "integer", "long")
_FRACTIONS = ("float", "double", "decimal")
_TEXTS = ("string", "varchar", "char")
_LABELS = ("date", "timestamp", "timestamp_ntz")
_NUMBERS = (*_WHOLE, *_FRACTIONS, "boolean")


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes faults at one place of a study's file."""

    document: Document
    place: tuple[str, ...]

    def __call__(self, found: str, allowed: str, close: str | None = None) -> Fault:
        """A fault at the place."""
        return self.document.fault(self.place, found, allowed, close)


def reporter(resolved: Resolved, *place: str) -> Reporter:
    """Reports at a place of the resolved study's file."""
    document, _ = read_document(resolved.loaded.text, str(resolved.loaded.path))
    return Reporter(document, place)


def read_sources(session: SparkSession, resolved: Resolved) -> None:
    """Make every source a temporary view at its pinned version."""
    for name, pin in resolved.pins.items():
        with spark_faults(Where(table=name, version=pin.version)):
            reader = session.read.format("delta").option("versionAsOf", pin.version)
            reader.load(pin.path).createTempView(name)


def judge_watermarks(session: SparkSession, resolved: Resolved) -> None:
    """Evaluate the watermarks that only Spark can.

    Raises
    ------
    NotMatureError
        A source is not complete up to the window's end plus the longest horizon.
    """
    study, span = resolved.loaded.study, resolved.span
    for name, text in maturity.pending(study, span, resolved.pins).items():
        report = reporter(resolved, "sources", name, "watermark")
        frame = guarded(session, _select(text, "watermark", name), [name], report, clocks=True)
        found = frame.agg(F.max("watermark")).toArrow()[0][0].as_py()
        moment = found.astimezone(UTC) if found is not None else None
        maturity.require_mature(study, span, resolved.pins[name], moment, text)


def _select(expression: str, name: str, source: str) -> str:
    """A query of one expression, for the guard; a comment in it ends with its own line."""
    return f"SELECT CAST((\n{expression}\n) AS TIMESTAMP) AS {name} FROM {source}"  # noqa: S608


def unit_rows(session: SparkSession, resolved: Resolved, most: int | None = None) -> DataFrame:
    """Rows of the unit SQL with their history.

    Parameters
    ----------
    most
        Take only so many units, whichever Spark comes upon first: for a look, never for a record.

    Returns
    -------
    DataFrame
        ``unit_id, cluster_id, unit_time, weight``, then the study's feature columns: whole
        numbers as bigint, others as double, boolean and string as they are. NULL stays NULL.

    Raises
    ------
    StudyError
        The SQL does what it must not, or does not select a column that the study names.
    ContractError
        A column is of a type that no estimator reads (``column_type``).
    """
    study, span = resolved.loaded.study, resolved.span
    bounds = {"window_start": span.start, "window_end": span.end}
    report = reporter(resolved, "units", "sql")
    found = guarded(session, study.units.sql, list(study.sources), report, parameters=bounds)
    if most is not None:
        found = found.limit(most)
    given = [name for name in feature_columns(study) if name not in looked_back(study)]
    _check_columns(found, [*_named(study), *given], report)
    kinds = {field.name.casefold(): field.dataType.typeName() for field in found.schema}
    faults = list(_type_faults(study, given, kinds))
    if faults:
        raise ContractError(
            "; ".join(faults),
            code="column_type",
            where=Where(table="units", window=span.label),
            remedy="cast in the unit SQL",
        )
    features = (_plain(name, kinds[name.casefold()]).alias(name) for name in given)
    units = found.select(*_reserved(study), *_keys(study), *features)
    for title, history in study.history.items():
        source = study.sources[history.source]
        if source.known_at:
            place = reporter(resolved, "sources", history.source, "known_at")
            query = _select(source.known_at, "known_at", history.source)
            guarded(session, query, [history.source], place)
        units = with_history(
            units,
            session.table(history.source),
            history,
            source,
            key=_key(title),
            span=span,
            bounds=_bounds(history, resolved.pins[history.source]),
        )
    return units.select("unit_id", "cluster_id", TIME, "weight", *feature_columns(study))


def _bounds(history: History, pin: Pin) -> Bounds:
    parsed = (parse_aggregate(text) for text in history.columns.values())
    columns = {each.column for each in parsed if each.column and each.function in ("sum", "avg")}
    return {column.casefold(): magnitude(pin, column) for column in sorted(columns)}


def looked_back(study: Study) -> set[str]:
    """Columns that history makes."""
    return {name for history in study.history.values() for name in history.columns}


def _named(study: Study) -> list[str]:
    """Columns of the unit SQL that the study names besides its features."""
    units = study.units
    named = [units.id, units.time, units.cluster, units.weight]
    return [*(each for each in named if each), *(each.by for each in study.history.values())]


def _check_columns(found: DataFrame, needed: list[str], report: Reporter) -> None:
    have = {name.casefold() for name in found.columns}
    missing = [name for name in dict.fromkeys(needed) if name.casefold() not in have]
    if missing:
        shown = listed(found.columns)
        raise StudyError(
            [
                report(f"no column {name!r} among those selected", shown, nearest(name, have))
                for name in missing
            ]
        )


def _type_faults(study: Study, given: list[str], kinds: dict[str, str]) -> Iterator[str]:
    arms = [name for name, each in study.treatments.items() if each.kind == "categorical"]
    numbers = {*study.instruments, *propensity_columns(study)}
    for name in given:
        kind = kinds[name.casefold()]
        if name in arms:
            if kind not in (*_WHOLE, *_TEXTS, "boolean"):
                yield f"{name} is of type {kind}; arms are texts, whole numbers or booleans"
        elif name in numbers:
            if kind not in _NUMBERS:
                yield f"{name} is of type {kind}; instruments and propensities are numbers"
        elif name in study.treatments or name in outcome_columns(study).values():
            if kind not in _NUMBERS:
                yield f"{name} is of type {kind}; treatments and outcomes are numbers or booleans"
        elif name in study.covariates:
            if kind not in (*_NUMBERS, *_TEXTS):
                yield f"{name} is of type {kind}; covariates are numbers, booleans or strings"
        elif kind not in (*_NUMBERS, *_TEXTS, *_LABELS):
            yield f"{name} is of type {kind}; groups are numbers, booleans, strings or dates"
    time = study.units.time
    if time and kinds[time.casefold()] not in _LABELS:
        yield f"{time} is of type {kinds[time.casefold()]}; a unit's time is a timestamp or a date"


def _reserved(study: Study) -> Iterator[Column]:
    units = study.units
    yield _quoted(units.id).cast("string").alias("unit_id")
    cluster = _quoted(units.cluster) if units.cluster else F.lit(None)
    yield cluster.cast("string").alias("cluster_id")
    moment = _quoted(units.time) if units.time else F.lit(None)
    yield moment.cast("timestamp").alias(TIME)
    weight = _quoted(units.weight) if units.weight else F.lit(1.0)
    yield weight.cast("double").alias("weight")


def _key(title: str) -> str:
    return f"__by_{title}"


def _keys(study: Study) -> Iterator[Column]:
    """The units' keys of each history: they need not be features."""
    for title, history in study.history.items():
        yield _quoted(history.by).alias(_key(title))


def _plain(name: str, kind: str) -> Column:
    """A feature in one of the four types of the table. Zero has no sign, so digests agree."""
    column = _quoted(name)
    if kind in _WHOLE:
        return column.cast("bigint")
    if kind in _FRACTIONS:
        double = column.cast("double")
        return F.when(double == 0, F.lit(0.0)).otherwise(double)
    return column.cast("string") if kind in (*_TEXTS, *_LABELS) else column


def _quoted(name: str) -> Column:
    return F.col(f"`{name}`")
