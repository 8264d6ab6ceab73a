"""Publish a corrected prediction as a table of the lake: one map, for many studies.

``python -m jobs.predicted.publish_map NAME --table T --column C --calibration T --truth C`` writes
``<lake>/maps/NAME`` (every row of the table with ``<column>_corrected``) and
``<lake>/maps/NAME_calibration`` (the calibration rows with the same column). A study reads the map
as a source, and so pins its version. The corrected column of both tables under ``predicted:`` with
``correct: lcc`` gives the same effect as the prediction itself, with the calibration's share of
the uncertainty; as a plain outcome it would lack that share.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from threadpoolctl import threadpool_limits

from conf.keys import digest, numeric_libraries
from conf.profile import Profile, load_profile
from conf.study import CalibrationTable
from estimators.debias.calibration import Calibration
from estimators.debias.correction import Correction
from estimators.debias.labelled import run_gate
from estimators.debias.linear import LinearCorrection, fit_linear
from estimators.debias.tweedie import TweedieCorrection, fit_tweedie
from estimators.errors import CausewayError, ContractError, Where
from estimators.learners import seed_of
from jobs import ledger
from jobs.lake import Pin, open_table
from jobs.ledger import Stage
from jobs.predicted import maps
from jobs.predicted.calibrations import read_calibration

NUMERICS = 1
SUFFIX = "_corrected"


@dataclass(frozen=True, slots=True)
class Map:
    """What is to be published.

    Attributes
    ----------
    name
        Of the table: ``<lake>/maps/<name>``.
    table, version, column
        The predictions.
    calibration
        Rows with prediction and truth.
    correct
        ``lcc`` or ``tweedie``.
    """

    name: str
    table: str
    column: str
    calibration: CalibrationTable
    correct: str = "lcc"
    version: int | None = None


def publish(asked: Map, profile: Profile) -> Stage:
    """Fit the correction, apply it to every row, and commit map and calibration with their facts.

    The same inputs a second time commit nothing.

    Raises
    ------
    ContractError
        A calibration that no correction can stand on, or a column that is not there; nothing is
        written.
    SourceError, UsageError
        A table that is not there, or not where it may be.
    """
    began = time.monotonic()
    path = maps.path_of(asked.name, profile)
    rows = maps.source("predictions", asked.table, asked.version, profile)
    given = asked.calibration
    labelled = maps.source("calibration", given.table, given.version, profile)
    pins = {"predictions": rows, "calibration": labelled}
    wanted = given.model_dump(exclude={"table", "version"})
    maps.check_columns(rows, asked.column)
    maps.check_columns(labelled, *(each for each in wanted.values() if each is not None))
    _refuse_taken(rows, asked.column)
    _refuse_taken(labelled, given.prediction)
    key = digest(
        {
            "map": [asked.name, asked.column, asked.correct],
            "pins": {name: [each.table_id, each.version] for name, each in pins.items()},
            "calibration": wanted,
            "numerics": NUMERICS,
            "libraries": numeric_libraries(),
        }
    )
    done = ledger.find(profile.record_root, "publish_map", key)
    if done is not None:
        return done
    with threadpool_limits(limits=1):  # two BLAS threads would change the last bits
        calibration = read_calibration(labelled, given, binary=False)
        where = Where(table=given.table, version=labelled.version)
        correction: Correction = (
            fit_linear(calibration, where=where)
            if asked.correct == "lcc"
            else fit_tweedie(calibration)
        )
        facts = _facts(asked, pins, calibration, correction)
    beside = (given.prediction, labelled, f"{path}_calibration")
    for column, pinned, target in (beside, (asked.column, rows, path)):
        version, count = _write((pinned, column), correction, target, key, facts)
    return maps.record(
        "publish_map", key, (f"maps/{asked.name}", version), rows=count, began=began,
        sources=pins, facts=facts, profile=profile,
    )  # fmt: skip


def _refuse_taken(pinned: Pin, column: str) -> None:
    """Refuse a table that has the corrected column, before anything is fitted or written."""
    name = f"{column}{SUFFIX}"
    if name in [each.name for each in open_table(pinned.path, pinned.version).schema().fields]:
        raise ContractError(
            f"the table has a column {name!r} already",
            code="column_taken",
            where=Where(table=pinned.name, version=pinned.version, column=name),
            remedy="publish from the table of the predictions themselves",
        )


def _write(
    read: tuple[Pin, str], correction: Correction, path: str, key: str, facts: dict[str, Any]
) -> tuple[int, int]:
    """Commit a table's rows with the corrected column; its version and rows."""
    pinned, column = read
    dataset = open_table(pinned.path, pinned.version).to_pyarrow_dataset()
    name = f"{column}{SUFFIX}"
    schema = dataset.schema.append(pa.field(name, pa.float64()))
    version = maps.publish(
        path, key, schema, lambda: _corrected(dataset, column, correction, schema), facts
    )
    return version, dataset.count_rows()


def _corrected(
    dataset: ds.Dataset, column: str, correction: Correction, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for batch in dataset.to_batches():
        values = batch.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
        corrected = pa.array(correction.apply(values), from_pandas=True)  # NaN becomes NULL
        yield pa.RecordBatch.from_arrays([*batch.columns, corrected], schema=schema)


def _facts(
    asked: Map, pins: dict[str, Pin], calibration: Calibration, correction: Correction
) -> dict[str, Any]:
    """The fitted correction with its gate, and what it was made of."""
    facts: dict[str, Any] = {
        "correction": correction.name,
        "column": asked.column,
        "range": [correction.low, correction.high],
        "calibration_rows": calibration.n,
        "tables": {
            name: {"id": each.table_id, "version": each.version} for name, each in pins.items()
        },
    }
    if isinstance(correction, LinearCorrection):
        facts |= {
            "intercept": correction.intercept,
            "slope": correction.slope,
            "covariance": correction.covariance.tolist(),
        }
    if isinstance(correction, TweedieCorrection):
        facts |= {"sigma": correction.sigma, "bandwidth": correction.kernel.bandwidth}
    if calibration.arm is None:
        return facts | {"gate": {"answer": "untested", "table": []}}
    seed = np.random.SeedSequence(seed_of("gate", pins["calibration"].table_id))
    gate = run_gate(calibration, {correction.name: correction}, seed)
    return facts | {"gate": {"answer": gate.answer, "reason": gate.reason, "table": gate.table()}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.predicted.publish_map", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("name", help="of the map: <lake>/maps/NAME")
    parser.add_argument("--table", required=True, help="of predictions; {lake} is the lake")
    parser.add_argument("--version", type=int, help="of the table; omitted: the newest")
    parser.add_argument("--column", required=True, help="the prediction's column")
    parser.add_argument("--calibration", required=True, help="table with prediction and truth")
    parser.add_argument("--calibration-version", type=int)
    parser.add_argument("--prediction", help="its prediction's column; omitted: as --column")
    parser.add_argument("--truth", required=True, help="its column of the truth")
    for name in ("arm", "group", "weight", "cluster", "id"):
        parser.add_argument(f"--{name}", help=f"its column of the {name}")
    parser.add_argument("--correct", choices=("lcc", "tweedie"), default="lcc")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the stage, and print it as JSON."""
    given = _parser().parse_args(arguments)
    calibration = CalibrationTable(
        table=given.calibration, version=given.calibration_version,
        prediction=given.prediction or given.column, truth=given.truth, arm=given.arm,
        group=given.group, weight=given.weight, cluster=given.cluster, id=given.id,
    )  # fmt: skip
    asked = Map(given.name, given.table, given.column, calibration, given.correct, given.version)
    try:
        stage = publish(asked, load_profile())
    except CausewayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(stage.as_dict() | {"detail": stage.detail}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
