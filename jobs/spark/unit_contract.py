"""What a study promises of its units, checked on the rows: all broken promises in one error.

Messages hold counts and up to five unit ids, never a covariate's value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

from conf.names import listed
from conf.plan import feature_columns, outcome_columns, propensity_columns
from conf.study import Study
from conf.windows import ALL, Span
from estimators.errors import ContractError, Where

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_EXAMPLES = 5
_DROP = "or leave such rows out in the unit SQL"


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise about single rows; `broken` is true on the rows that break it."""

    code: str
    column: str | None
    words: str
    broken: Column
    remedy: str


@dataclass(frozen=True, slots=True)
class Breach:
    """A broken promise: what was found, and some ids."""

    code: str
    column: str | None
    words: str
    remedy: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f" (ids {', '.join(self.examples)})" if self.examples else ""
        return f"{self.words}{shown}"


@dataclass(frozen=True, slots=True)
class Census:
    """How many units there are, and clusters (or units, where no cluster is declared)."""

    rows: int
    clusters: int


def check_units(units: DataFrame, study: Study, span: Span) -> Census:
    """Check every promise; the units should be cached, they are read several times.

    Raises
    ------
    ContractError
        With the code of the first broken promise and all of them in its message.
    """
    promises = list(_promises(units, study, span))
    distinct = [F.count_distinct("unit_id"), F.count("unit_id")]
    if study.units.cluster:
        distinct.append(F.count_distinct("cluster_id"))
    counts = [F.count(F.when(each.broken, True)) for each in promises]
    rows, *found = units.agg(F.count(F.lit(1)), *distinct, *counts).collect()[0]
    if not rows:
        _raise([_empty(span)], span)
    ids, with_id, broken = found[0], found[1], found[len(distinct) :]
    clusters = found[2] if study.units.cluster else ids
    breaches = [_duplicates(units)] if ids < with_id else []
    for promise, count in zip(promises, broken, strict=True):
        if count:
            breaches.append(_breach(units, promise, count))
    breaches += _too_few(study, clusters)
    if breaches:
        _raise(breaches, span)
    return Census(rows, clusters)


def _raise(breaches: list[Breach], span: Span) -> None:
    first = breaches[0]
    text = str(first)
    if len(breaches) > 1:
        lines = "".join(f"\n  {each.code}: {each}" for each in breaches)
        text = f"the units break {len(breaches)} promises{lines}"
    raise ContractError(
        text,
        code=first.code,
        where=Where(table="units", column=first.column, window=span.label),
        remedy="; ".join(dict.fromkeys(each.remedy for each in breaches)),
    )


def _empty(span: Span) -> Breach:
    return Breach(
        "empty_window",
        None,
        f"no units from {span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC",
        "check the window, and the joins and conditions of the unit SQL",
    )


def _duplicates(units: DataFrame) -> Breach:
    twice = units.groupBy("unit_id").count().where("count > 1 AND unit_id IS NOT NULL")
    ids, rows = twice.agg(F.count(F.lit(1)), F.sum("count")).collect()[0]
    found = twice.select("unit_id").orderBy("unit_id").limit(_EXAMPLES).collect()
    return Breach(
        "duplicate_ids",
        None,
        f"{ids} unit {'id stands' if ids == 1 else 'ids stand'} in {rows} rows",
        "select one row a unit: a join of the unit SQL may multiply rows",
        tuple(row[0] for row in found),
    )


def _breach(units: DataFrame, promise: Promise, count: int) -> Breach:
    rows = units.where(promise.broken).select("unit_id").dropna()
    found = rows.orderBy("unit_id").limit(_EXAMPLES).collect()
    words = f"{count} {'row' if count == 1 else 'rows'} {promise.words}"
    examples = tuple(row[0] for row in found)
    return Breach(promise.code, promise.column, words, promise.remedy, examples)


def _too_few(study: Study, clusters: int) -> Iterator[Breach]:
    least = 2 * study.folds.k
    if clusters < least:
        noun = f"clusters of {study.units.cluster}" if study.units.cluster else "units"
        yield Breach(
            "too_few_clusters",
            study.units.cluster,
            f"{clusters} {noun}; {study.folds.k} folds need {least}",
            "take a longer window, a finer cluster or fewer folds",
        )


def _promises(units: DataFrame, study: Study, span: Span) -> Iterator[Promise]:
    unit = study.units
    yield Promise(
        "null_id", unit.id, f"without an id in {unit.id}", F.col("unit_id").isNull(),
        f"give every row an id, {_DROP}",
    )  # fmt: skip
    if unit.cluster:
        yield Promise(
            "null_cluster", unit.cluster, f"without a cluster in {unit.cluster}",
            F.col("cluster_id").isNull(), f"give every row a cluster, {_DROP}",
        )  # fmt: skip
    yield from _of_time(study, span)
    weight = F.col("weight")
    if unit.weight:
        yield Promise(
            "bad_weight", unit.weight, f"whose weight {unit.weight} is not a positive number",
            weight.isNull() | F.isnan(weight) | (weight <= 0) | (weight == float("inf")),
            f"weights are positive, {_DROP}",
        )  # fmt: skip
    yield from _of_treatments(study)
    yield from _of_instruments(study)
    yield from _of_outcomes(study)
    doubles = {name for name, kind in units.dtypes if kind == "double"}
    for name in feature_columns(study):
        if name in doubles:
            value = F.col(f"`{name}`")
            yield Promise(
                "not_finite", name, f"with NaN or an infinite {name}",
                F.isnan(value) | (F.abs(value) == float("inf")),
                f"make it NULL in the unit SQL: nanvl({name}, NULL); nullif() for divisors of 0",
            )  # fmt: skip


def _of_time(study: Study, span: Span) -> Iterator[Promise]:
    name, moment = study.units.time, F.col("unit_time")
    if not name:
        return
    yield Promise(
        "null_time", name, f"without a time in {name}", moment.isNull(),
        f"give every row a time, {_DROP}",
    )  # fmt: skip
    if span != ALL:
        yield Promise(
            "outside_window", name, f"whose {name} lies outside the window",
            (moment < F.lit(span.start)) | (moment >= F.lit(span.end)),
            f"bound {name} itself by :window_start and :window_end in the unit SQL",
        )  # fmt: skip


def _of_treatments(study: Study) -> Iterator[Promise]:
    for name, treatment in study.treatments.items():
        value = F.col(f"`{name}`")
        yield Promise(
            "missing_treatment", name, f"without the treatment {name}", value.isNull(),
            f"decide what a missing {name} means, {_DROP}",
        )  # fmt: skip
        if treatment.kind == "binary":
            yield _binary(name, "treatment")
        if treatment.kind == "categorical":
            yield Promise(
                "unknown_arm", name, f"whose {name} is none of the arms {listed(treatment.arms)}",
                ~value.cast("string").isin(treatment.arms),
                f"name every value of {name} in `arms:`, {_DROP}",
            )  # fmt: skip


def _of_instruments(study: Study) -> Iterator[Promise]:
    for name, instrument in study.instruments.items():
        yield Promise(
            "missing_instrument", name, f"without the instrument {name}",
            F.col(f"`{name}`").isNull(), f"decide what a missing {name} means, {_DROP}",
        )  # fmt: skip
        if instrument.kind == "binary":
            yield _binary(name, "instrument")
    for name in propensity_columns(study):
        value = F.col(f"`{name}`").cast("double")
        yield Promise(
            "bad_propensity", name, f"whose propensity {name} is not between 0 and 1",
            value.isNull() | F.isnan(value) | (value <= 0) | (value >= 1),
            f"give every row the probability of its design, {_DROP}",
        )  # fmt: skip


def _of_outcomes(study: Study) -> Iterator[Promise]:
    columns = outcome_columns(study)
    for outcome_name, outcome in study.outcomes.items():
        name = columns[outcome_name]
        if outcome.missing == "error":
            yield Promise(
                "missing_outcome", name, f"without the outcome {name}",
                F.col(f"`{name}`").isNull(),
                f"`missing: drop` of {name} leaves them out and adds the attrition check",
            )  # fmt: skip
        if outcome.kind == "binary":
            yield _binary(name, "outcome")


def _binary(name: str, role: str) -> Promise:
    value = F.col(f"`{name}`").cast("double")
    return Promise(
        "not_binary", name, f"whose {role} {name} is neither 0 nor 1",
        (value != 0) & (value != 1),
        f"code {name} as 0 and 1, or declare it continuous",
    )  # fmt: skip
