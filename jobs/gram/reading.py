"""The pinned feature files, read as the Gram engine takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from conf.plan import effect_specs
from conf.profile import Profile
from conf.study import Study
from estimators.effects import arm_column
from estimators.units import groupings
from jobs.gram.frame import Frame
from jobs.lake import open_table, readable
from jobs.ledger import Stage

BATCH = 65_536
"""Rows read at a time."""
BUFFER = 262_144
"""Bytes of each column read at a time: whole column chunks of a row group may be 600 MB."""


def frame_of(study: Study, features: Stage, profile: Profile) -> Frame:
    """The frame of a study; a text column is a category."""
    table = open_table(f"{profile.home}/{features.table}", features.version)
    schema = pa.schema(table.schema().to_arrow())
    texts = {
        field.name
        for field in schema
        if pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type)
        or pa.types.is_string_view(field.type)
    }
    effects = effect_specs(study)
    treated = dict.fromkeys(name for each in effects for name in each.exposures)
    arms = {
        arm_column(each.treatment, arm): (each.treatment, arm)
        for each in effects
        for arm in (each.arm, each.control)
        if arm is not None
    }
    binary = {name for name in treated if name in arms or study.treatments[name].kind == "binary"}
    outcomes = dict.fromkeys(each.outcome for each in effects)
    return Frame(
        tuple(name for name in study.covariates if name not in texts),
        tuple(name for name in study.covariates if name in texts),
        tuple(treated),
        frozenset(binary),
        tuple(outcomes),
        tuple(name for name in outcomes if study.outcomes[name].missing == "drop"),
        groupings(effects),
        study.folds.k,
        study.folds.repetitions,
        study.units.cluster is not None,
        arms,
    )


def batches(features: Stage, profile: Profile, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a features key, a batch at a time, file by file, in the files' order.

    Pages are read as they are needed: a row group need not fit into memory.
    """
    table = open_table(f"{profile.home}/{features.table}", features.version)
    data = table.to_pyarrow_dataset()
    schema = pa.schema([data.schema.field(name) for name in columns])
    with readable(table):
        for fragment in data.get_fragments(ds.field("features_key") == features.key):
            with (
                fragment.open() as source,
                pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER) as file,
            ):
                here = [name for name in columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH, columns=here, use_threads=False):
                    rows = _as(pa.Table.from_batches([batch]), schema)
                    del batch
                    yield rows
                    del rows  # two batches are never in memory


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns in order and type; one that a file lacks is NULL (the table grew later)."""
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
