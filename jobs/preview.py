"""A look at a study's units before anything is estimated: rows, NULLs, arms and crude overlap."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from conf.load import LoadedStudy
from conf.plan import feature_columns, outcome_columns, propensity_columns
from conf.profile import Profile
from conf.study import Study
from conf.windows import ALL, Span, duration, last_before
from estimators.catalog import OVERLAP_CLIP
from estimators.errors import ContractError, Where
from estimators.learners import Design, open_fold
from jobs.engines import own_session, spark_session
from jobs.ledger import Progress, silent
from jobs.maturity import statistic, timed_sources
from jobs.resolve import Resolved, pin_sources
from jobs.spark.faults import spark_faults

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SAMPLE = 50_000
"""Units that a preview looks at, at most."""
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LINEAR = {"learner": "linear", "penalty": 1.0}
_CATEGORIES = 200

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the units.

    Attributes
    ----------
    role
        ``treatment``, ``outcome``, ``covariate``, ``instrument``, ``propensity`` or ``group``.
    distinct
        Distinct values in the sample, NULL not counted.
    not_finite
        Values that are NaN or infinite, which a run refuses.
    """

    name: str
    role: str
    type: str
    nulls: int
    distinct: int
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """Units of one arm, and the mean of each outcome where it is known."""

    value: str
    units: int
    outcomes: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class TreatmentSeen:
    """A treatment in the sample.

    Attributes
    ----------
    arms
        Of a binary or a categorical treatment.
    quantiles
        Minimum, quartiles and maximum of any other.
    ess_share
        Of a binary treatment: the effective share of the sample that weighting leaves each arm,
        by a logistic regression on all covariates, fitted and looked at on the same units.
    clipped_share
        Units whose propensity lies outside the clip.
    """

    name: str
    arms: tuple[Arm, ...]
    quantiles: tuple[float, ...]
    ess_share: dict[str, float]
    clipped_share: float | None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a look shows.

    Attributes
    ----------
    complete
        Whether the sample is the whole window.
    clusters
        Clusters in the sample; None where none is declared.
    """

    study: str
    span: Span
    sources: dict[str, int]
    units: int
    complete: bool
    clusters: int | None
    columns: tuple[Column, ...]
    treatments: tuple[TreatmentSeen, ...]
    seconds: float


def newest_window(loaded: LoadedStudy, profile: Profile) -> Span:
    """The last window whose outcomes the sources hold, by the times of their rows.

    Where a table's statistics do not tell the last `event_time`, its commit time counts.
    """
    study, pins = loaded.study, pin_sources(loaded, profile)
    moments = []
    for name, source in timed_sources(study, Span(ALL.start, ALL.end, "any")):
        found = None
        for text in (source.watermark, source.event_time and f"max({source.event_time})"):
            if text and found is None:
                _, found = statistic(text, pins[name])
        moments.append(found or pins[name].committed_at)
    horizon = max(duration(each.horizon) for each in study.outcomes.values())
    return last_before(min(moments) - horizon, study.window)


def preview(
    resolved: Resolved, profile: Profile, progress: Progress = silent, most: int = SAMPLE
) -> Preview:
    """Look at up to `most` units of a window. Nothing is written.

    Raises
    ------
    StudyError, ContractError
        The unit SQL does what it must not, lacks a column, or gives no units.
    """
    progress("preview", 0, 2, "starting Spark")
    with spark_session(profile, "preview") as spark:
        began = time.perf_counter()
        # One unit more than wanted tells that there are more.
        rows = _rows(own_session(spark), resolved, most + 1, progress)
    study = resolved.loaded.study
    if not len(rows):
        raise ContractError(
            "no units",
            code="empty_window",
            where=Where(table="units", window=resolved.span.label),
            remedy="check the window, and the joins and conditions of the unit SQL",
        )
    sample = rows.slice(0, most)
    progress("preview", 2, 2, f"{len(sample):,} units")
    return Preview(
        study.study,
        resolved.span,
        resolved.sources,
        len(sample),
        len(rows) <= most,
        pc.count_distinct(sample["cluster_id"]).as_py() if study.units.cluster else None,
        tuple(_column(sample, study, name) for name in feature_columns(study)),
        tuple(_treatment(sample, study, name) for name in study.treatments),
        time.perf_counter() - began,
    )


def _rows(session: SparkSession, resolved: Resolved, most: int, progress: Progress) -> pa.Table:
    from jobs.spark.unit_rows import read_sources, unit_rows

    with spark_faults(Where(table="units", window=resolved.span.label)):
        read_sources(session, resolved)
        progress("preview", 1, 2, "reading units")
        return unit_rows(session, resolved, most).toArrow()


def _column(rows: pa.Table, study: Study, name: str) -> Column:
    roles: dict[str, Collection[str]] = {
        "treatment": study.treatments,
        "outcome": outcome_columns(study).values(),
        "covariate": study.covariates,
        "instrument": study.instruments,
        "propensity": propensity_columns(study),
    }
    role = next((title for title, names in roles.items() if name in names), "group")
    column = rows[name]
    distinct = pc.count_distinct(column).as_py()
    finite = pc.is_finite(column) if pa.types.is_floating(column.type) else None
    wrong = 0 if finite is None else pc.sum(pc.invert(finite)).as_py() or 0
    return Column(name, role, str(column.type), column.null_count, distinct, wrong)


def _treatment(rows: pa.Table, study: Study, name: str) -> TreatmentSeen:
    if study.treatments[name].kind == "categorical":
        return TreatmentSeen(name, tuple(_named_arms(rows, study, name)), (), {}, None)
    values = _doubles(rows[name])
    known = values[np.isfinite(values)]
    if study.treatments[name].kind != "binary":
        quantiles = np.quantile(known, _QUANTILES).tolist() if len(known) else []
        return TreatmentSeen(name, (), tuple(quantiles), {}, None)
    arms = tuple(_arms(rows, study, values))
    if len(arms) != 2 or not np.all(np.isin(known, (0.0, 1.0))):  # noqa: PLR2004
        return TreatmentSeen(name, arms, (), {}, None)
    ess, clipped = _overlap(rows, study.covariates, values)
    return TreatmentSeen(name, arms, (), ess, clipped)


def _arms(rows: pa.Table, study: Study, values: Doubles) -> Iterator[Arm]:
    for value in np.unique(values[np.isfinite(values)]):
        yield _arm(rows, study, f"{value:g}", values == value)


def _named_arms(rows: pa.Table, study: Study, name: str) -> Iterator[Arm]:
    """Arms that a categorical treatment declares, then values that it does not."""
    labels = np.array(rows[name].cast(pa.string()).to_pylist(), dtype=object)
    declared = study.treatments[name].arms
    others = sorted({label for label in labels if label is not None} - {*declared})
    for label in (*declared, *others):
        yield _arm(rows, study, label, np.asarray(labels == label, dtype=np.bool_))


def _arm(rows: pa.Table, study: Study, label: str, chosen: NDArray[np.bool_]) -> Arm:
    outcomes = {
        name: _mean(_doubles(rows[column])[chosen])
        for name, column in outcome_columns(study).items()
    }
    return Arm(label, int(chosen.sum()), outcomes)


def _mean(values: Doubles) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _overlap(
    rows: pa.Table, covariates: Sequence[str], treated: Doubles
) -> tuple[dict[str, float], float]:
    """Effective share of each arm, and the share of units that would be clipped."""
    known = np.flatnonzero(np.isfinite(treated))
    design = _design(rows, covariates)
    weight = np.ones(len(treated))
    fold = open_fold(_LINEAR, design, known, known, weight)
    propensity = fold.predict(treated[known], "binary", _LINEAR, 0)
    clipped = (propensity < OVERLAP_CLIP) | (propensity > 1 - OVERLAP_CLIP)
    bounded = np.clip(propensity, OVERLAP_CLIP, 1 - OVERLAP_CLIP)
    share = {}
    for arm, chance in (("0", 1 - bounded), ("1", bounded)):
        weights = 1 / chance[treated[known] == float(arm)]
        share[arm] = float(weights.sum() ** 2 / (weights**2).sum() / len(weights))
    return share, float(clipped.mean())


def _design(rows: pa.Table, covariates: Sequence[str]) -> Design:
    """Covariates for a linear learner; text of many values is left out."""
    names: list[str] = []
    columns: list[Doubles] = []
    categories: dict[int, tuple[str, ...]] = {}
    for name in covariates:
        column = rows[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            encoded = column.combine_chunks().dictionary_encode()
            if len(encoded.dictionary) > _CATEGORIES:
                continue
            categories[len(names)] = tuple(encoded.dictionary.to_pylist())
            codes = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
            columns.append(np.where(np.isfinite(codes), codes, np.nan))
        else:
            columns.append(_doubles(column))
        names.append(name)
    values = np.column_stack(columns) if columns else np.zeros((len(rows), 0))
    return Design(values, tuple(names), categories)


def _doubles(column: pa.ChunkedArray) -> Doubles:
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
