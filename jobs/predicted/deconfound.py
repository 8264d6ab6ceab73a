"""Publish an outcome without the effect of known confounders: Y - h(C), out of fold.

``python -m jobs.predicted.deconfound NAME --table T --outcome Y --id ID --embedding E..
--confounders C..`` writes ``<lake>/maps/NAME``: every row of the table with
``<outcome>_deconfounded`` and the part that was taken away, ``<outcome>_confounding``. A study or
the training of a reward model reads it as a source, and so pins its version.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from conf.keys import digest, numeric_libraries
from conf.profile import Profile, load_profile
from estimators.debias.deconfound import PENALTY, Deconfounded, deconfound
from estimators.errors import CausewayError, ContractError, Where
from jobs import ledger
from jobs.lake import Pin, read
from jobs.ledger import Stage
from jobs.predicted import maps

NUMERICS = 1
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Reward:
    """What is to be published.

    Attributes
    ----------
    embedding
        Columns of numbers, or one column of lists of equal length.
    cluster
        Rows of one cluster share a fold; omitted: the id.
    """

    name: str
    table: str
    outcome: str
    id: str
    embedding: tuple[str, ...]
    confounders: tuple[str, ...]
    cluster: str | None = None
    folds: int = FOLDS
    penalty: float = PENALTY
    version: int | None = None


def publish(asked: Reward, profile: Profile) -> Stage:
    """Remove the confounders' part of an outcome, and commit the rows with what made them.

    The same inputs a second time commit nothing.

    Raises
    ------
    ContractError
        ``not_finite``, ``folds``, ``embedding``, ``duplicate_ids``, ``no_column``; nothing is
        written.
    """
    began = time.monotonic()
    path = maps.path_of(asked.name, profile)
    pinned = maps.source("outcomes", asked.table, asked.version, profile)
    owner = asked.cluster or asked.id
    columns = (asked.outcome, asked.id, owner, *asked.embedding, *asked.confounders)
    maps.check_columns(pinned, *columns)
    key = digest(
        {
            "reward": [
                asked.name, asked.outcome, asked.id, owner, list(asked.embedding),
                list(asked.confounders), asked.folds, asked.penalty,
            ],
            "pin": [pinned.table_id, pinned.version],
            "numerics": NUMERICS,
            "libraries": numeric_libraries(),
        }
    )  # fmt: skip
    done = ledger.find(profile.record_root, "deconfound", key)
    if done is not None:
        return done
    rows = read(pinned.path, version=pinned.version).sort_by(asked.id)
    found = _deconfounded(rows, asked, pinned)
    table = rows.append_column(f"{asked.outcome}_deconfounded", pa.array(found.outcome))
    table = table.append_column(f"{asked.outcome}_confounding", pa.array(found.confounding))
    facts = _facts(asked, pinned, found)
    version = maps.publish(path, key, table.schema, table.to_batches, facts)
    return maps.record(
        "deconfound", key, (f"maps/{asked.name}", version), rows=len(table), began=began,
        sources={"outcomes": pinned}, facts=facts, profile=profile,
    )  # fmt: skip


def _deconfounded(rows: pa.Table, asked: Reward, pinned: Pin) -> Deconfounded:
    where = Where(table=pinned.name, version=pinned.version)
    ids = rows[asked.id].cast(pa.string()).to_pylist()
    if len(set(ids)) < len(ids):
        raise ContractError(
            f"{len(ids) - len(set(ids))} rows repeat a value of {asked.id}",
            code="duplicate_ids", where=where, remedy="give one row an id",
        )  # fmt: skip
    owners = rows[asked.cluster or asked.id].cast(pa.string()).to_pylist()
    fold = np.array(
        [xxhash.xxh64_intdigest(str(each).encode(), 42) % asked.folds for each in owners]
    )
    embedding = np.concatenate([_columns(rows[each], each, where) for each in asked.embedding], 1)
    confounders = np.concatenate(
        [_columns(rows[each], each, where) for each in asked.confounders], 1
    )
    outcome = _columns(rows[asked.outcome], asked.outcome, where)[:, 0]
    try:
        with threadpool_limits(limits=1):  # two BLAS threads would change the last bits
            return deconfound(outcome, embedding, confounders, fold, penalty=asked.penalty)
    except ContractError as error:
        raise ContractError(
            error.message, code=error.code, where=where, remedy=error.remedy
        ) from error


def _columns(column: pa.ChunkedArray, name: str, where: Where) -> NDArray[np.float64]:
    """A column as ``(n, 1)``, or one of lists as ``(n, p)``."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        values = column.cast(pa.float64()).to_numpy()
        return np.asarray(values, dtype=np.float64)[:, None]
    lists = column.to_pylist()
    widths = {len(each) if each is not None else 0 for each in lists}
    if len(widths) != 1 or 0 in widths:
        raise ContractError(
            f"lists of {sorted(widths)[:5]} numbers in {name}; expected one length",
            code="embedding", where=where, remedy="give every row an embedding of one length",
        )  # fmt: skip
    return np.array(lists, dtype=np.float64)


def _facts(asked: Reward, pinned: Pin, found: Deconfounded) -> dict[str, Any]:
    taken = float(np.var(found.confounding) / np.var(found.outcome + found.confounding))
    return {
        "outcome": asked.outcome,
        "confounders": list(asked.confounders),
        "embedding": list(asked.embedding),
        "folds": asked.folds,
        "penalty": asked.penalty,
        "confounding_share": taken,
        "beta_norm": [float(each) for each in np.linalg.norm(found.beta, axis=1)],
        "tables": {"outcomes": {"id": pinned.table_id, "version": pinned.version}},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.predicted.deconfound", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("name", help="of the table: <lake>/maps/NAME")
    parser.add_argument("--table", required=True, help="of outcomes; {lake} is the lake")
    parser.add_argument("--version", type=int, help="of the table; omitted: the newest")
    parser.add_argument("--outcome", required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--cluster", help="rows of one cluster share a fold")
    parser.add_argument("--embedding", required=True, nargs="+", help="columns, or one of lists")
    parser.add_argument("--confounders", required=True, nargs="+")
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--penalty", type=float, default=PENALTY, help="ridge on beta, in rows")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage, and print it as JSON."""
    given = _parser().parse_args(arguments)
    asked = Reward(
        given.name, given.table, given.outcome, given.id, tuple(given.embedding),
        tuple(given.confounders), given.cluster, given.folds, given.penalty, given.version,
    )  # fmt: skip
    try:
        stage = publish(asked, load_profile())
    except CausewayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(stage.as_dict() | {"detail": stage.detail}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
