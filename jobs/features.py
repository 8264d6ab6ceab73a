"""The features stage: pinned sources become a row per unit, committed with folds and a digest.

``python -m jobs.features STUDY [WINDOW]`` runs this stage alone.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from conf.keys import features_key, numerics_label, platform_label
from conf.load import load_study
from conf.plan import asserted_covariates, feature_columns
from conf.profile import Profile, load_profile
from conf.study import Study
from conf.windows import parse_span
from estimators.errors import CausewayError, ContractError, RetryableError, SourceError, Where
from jobs import ledger
from jobs.contracts import FEATURES_RESERVED
from jobs.engines import own_session, spark_session
from jobs.failpoints import reach
from jobs.lake import committed_version, open_table
from jobs.ledger import Progress, Stage, silent
from jobs.resolve import Resolved, resolve
from jobs.spark.faults import spark_faults

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from jobs.spark.row_digest import RowDigest

ROWS_A_FILE = 1_000_000
_ATTEMPTS = 5
_STEPS = 4
_PROPERTIES = {
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.enableDeletionVectors": "false",
    "delta.columnMapping.mode": "none",
}


@dataclass(frozen=True, slots=True)
class _Work:
    """One build: of what, where to, and who is told."""

    resolved: Resolved
    profile: Profile
    key: str
    progress: Progress

    @property
    def study(self) -> Study:
        return self.resolved.loaded.study

    @property
    def table(self) -> str:
        return f"features/{self.study.study}"

    @property
    def path(self) -> str:
        return f"{self.profile.features_root}/{self.study.study}"

    @property
    def where(self) -> Where:
        return Where(table="units", window=self.resolved.span.label)


def build(resolved: Resolved, profile: Profile, progress: Progress = silent) -> Stage:
    """Build and commit the feature rows of a window, unless they are committed.

    Returns
    -------
    Stage
        ``reused``, without starting Spark, where the key is in the ledger. The detail holds the
        columns that the unit SQL asserts to be before treatment, the window's label and the
        number of clusters.

    Raises
    ------
    StudyError
        The study's SQL does what it must not, or lacks a column.
    ContractError
        The rows break a promise of the study; nothing was written.
    SourceError
        A pinned version is gone.
    NotMatureError
        A watermark that needs Spark says that the window is too young.
    """
    ids = {name: (pin.table_id, pin.version) for name, pin in resolved.pins.items()}
    key = features_key(resolved.loaded.study, resolved.span, ids)
    known = ledger.find(profile.record_root, "features", key)
    if known is not None:
        return known
    work = _Work(resolved, profile, key, progress)
    _check_pins(resolved)
    progress("features", 0, _STEPS, "starting Spark")
    pins = resolved.pins.values()
    with spark_faults(work.where, pins), spark_session(profile, "features") as spark:
        began = time.perf_counter()
        session = own_session(spark)
        # Committed but not in the ledger: a crash came between the two.
        crashed = committed_version(work.path, key) is not None
        stage = _read_back(session, work) if crashed else _write(session, work)
        stage = replace(stage, seconds=time.perf_counter() - began)
    reach("features.before_ledger")
    stage = _record(work, stage)
    progress("features", _STEPS, _STEPS, f"{stage.rows:,} rows")
    return stage


def _check_pins(resolved: Resolved) -> None:
    """A table that was dropped and made anew since it was pinned has the versions of another."""
    for pin in resolved.pins.values():
        if str(open_table(pin.path, pin.version).metadata().id) != pin.table_id:
            raise SourceError(
                "the table was made anew since it was pinned",
                code="version_gone",
                where=Where(table=pin.name, version=pin.version),
                remedy="run again: the new table is pinned then",
            )


def _write(session: SparkSession, work: _Work) -> Stage:
    from jobs.spark.folds import with_folds
    from jobs.spark.row_digest import digest_rows
    from jobs.spark.unit_contract import check_units
    from jobs.spark.unit_rows import judge_watermarks, read_sources, unit_rows

    work.progress("features", 0, _STEPS, "reading the sources")
    read_sources(session, work.resolved)
    judge_watermarks(session, work.resolved)
    units = unit_rows(session, work.resolved).persist()
    try:
        work.progress("features", 1, _STEPS, "joining, looking back, checking")
        census = check_units(units, work.study, work.resolved.span)
        work.progress("features", 2, _STEPS, "folds and digest")
        owner = "cluster_id" if work.study.units.cluster else "unit_id"
        rows = with_folds(units, owner, census.clusters, work.study.folds)
        digest = digest_rows(rows.select(*_columns(work.study)))
        work.progress("features", 3, _STEPS, "commit")
        _commit(_laid_out(rows, census.rows, work), work)
    finally:
        units.unpersist()
    return _stage(work, digest, census.clusters)


def _columns(study: Study) -> list[str]:
    """Columns of the table under one key."""
    reserved = [name for name in FEATURES_RESERVED if name != "features_key"]
    return [*reserved, *feature_columns(study)]


def _laid_out(rows: DataFrame, count: int, work: _Work) -> DataFrame:
    """The table's columns; files of about a million rows, sorted by unit."""
    from pyspark.sql import functions as F  # noqa: N812 - Spark's own idiom

    chosen = rows.select(F.lit(work.key).alias("features_key"), *_columns(work.study))
    files = math.ceil(count / ROWS_A_FILE)
    parts = chosen.coalesce(1) if files == 1 else chosen.repartitionByRange(files, "unit_id")
    # The writer sorts by the partition column unless rows are sorted by it: then it keeps them.
    return parts.sortWithinPartitions("features_key", "unit_id")


def _commit(rows: DataFrame, work: _Work) -> None:
    """One atomic commit under the key. A lost race is tried again; a key is never written twice."""
    writer = (
        rows.write.format("delta")
        .mode("overwrite")
        .partitionBy("features_key")
        .option("replaceWhere", f"features_key = '{work.key}'")
        .option("txnAppId", work.key)
        .option("txnVersion", 1)
        .option("mergeSchema", "true")
        .options(**_PROPERTIES)
    )
    for attempt in range(_ATTEMPTS):
        try:
            with spark_faults(work.where):
                writer.save(work.path)
        except RetryableError:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        except Exception as error:
            if "DELTA_FAILED_TO_MERGE_FIELDS" in str(error):
                raise _changed_type(str(error), work) from error
            raise
        return


def _changed_type(text: str, work: _Work) -> ContractError:
    quoted = [part for part in text.splitlines()[0].split("'") if part in work.study.covariates]
    return ContractError(
        "a column has another type than in the windows that are there",
        code="schema_conflict",
        where=Where(table=work.table, column=quoted[0] if quoted else None),
        remedy="give it another name, or the study another name",
    )


def _read_back(session: SparkSession, work: _Work) -> Stage:
    """The stage of rows that are committed already."""
    from jobs.spark.row_digest import digest_rows

    table = session.read.format("delta").load(work.path)
    rows = table.where(table["features_key"] == work.key)
    owner = "cluster_id" if work.study.units.cluster else "unit_id"
    clusters = rows.select(owner).distinct().count()
    return _stage(work, digest_rows(rows.select(*_columns(work.study))), clusters)


def _stage(work: _Work, found: RowDigest, clusters: int) -> Stage:
    asserted = list(asserted_covariates(work.study))
    detail = {
        "asserted": asserted,
        "history": [name for name in work.study.covariates if name not in asserted],
        "window": work.resolved.span.label,
        "clusters": clusters,
    }
    return Stage(
        "features",
        "computed",
        work.key,
        work.table,
        open_table(work.path).version(),
        found.rows,
        0.0,
        found.digest,
        detail,
    )


def _record(work: _Work, stage: Stage) -> Stage:
    span = work.resolved.span
    return ledger.commit(
        work.profile.record_root,
        stage,
        study=work.study.study,
        window=(span.start, span.end),
        sources={name: pin.version for name, pin in work.resolved.pins.items()},
        numerics=numerics_label(),
        platform=platform_label(),
    )


def main(study: str, window: str | None = None) -> int:
    """Run the stage for a study and a window, and print it as JSON."""

    def tell(stage: str, done: int, total: int, note: str = "") -> None:
        print(f"{stage} {done}/{total} {note}", file=sys.stderr)

    try:
        loaded, profile = load_study(study), load_profile()
        resolved = resolve(loaded, parse_span(window, loaded.study.window), profile)
        print(json.dumps(build(resolved, profile, tell).as_dict()))
    except CausewayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
