"""Each promise about the units, broken alone: code, exit code, count and example ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from conf.load import LoadedStudy
from conf.windows import parse_span
from estimators.errors import ContractError
from tests.jobs.visits_lake import changed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.engines

SCHEMA = (
    "unit_id string, cluster_id string, unit_time timestamp, weight double, dose bigint, "
    "pain double, clinic string, cost double, visits_7d bigint, pain_7d double, cost_7d double, "
    "worst_7d double"
)
NOON = datetime(2024, 3, 5, 12, tzinfo=UTC)


def units(changes: Mapping[int, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Thirty sound units, some of them changed."""
    rows = []
    for i in range(30):
        row = {
            "unit_id": str(i), "cluster_id": f"p{i % 6}", "unit_time": NOON, "weight": 1.0,
            "dose": i % 2, "pain": 0.5 * i, "clinic": None, "cost": 0.1 * i, "visits_7d": 0,
            "pain_7d": None, "cost_7d": None, "worst_7d": None,
        }  # fmt: skip
        rows.append(tuple((row | dict(changes.get(i, {}))).values()))
    return rows


def check(spark: SparkSession, rows: Sequence[tuple[Any, ...]], study: LoadedStudy) -> Any:
    from jobs.spark.unit_contract import check_units

    span = parse_span("2024-03", study.study.window)
    return check_units(spark.createDataFrame(list(rows), SCHEMA), study.study, span)


SOUND = changed()
STRICT = changed((", missing: drop", ""))
BINARY = changed(("{kind: continuous", "{kind: binary"))
WEIGHTED = changed(
    ("  time: at\n", "  time: at\n  weight: weight_of\n"),
    (", pain\n", ", pain, 1 AS weight_of\n"),
)
ARMS = changed(("{dose: binary}", '{dose: {kind: categorical, arms: ["0", "1"]}}'), ("plr", "apo"))
MOVED = changed(
    ("outcomes:", "instruments: {visits_7d: binary}\noutcomes:"),
    (", visits_7d, ", ", "), ("{method: plr}", "{method: iivm}"),
)  # fmt: skip
KNOWN = changed(("{dose: binary}", "{dose: {kind: binary, propensity: cost}}"))
MANY_FOLDS = changed(("k: 2", "k: 4"))
NAN, INF = float("nan"), float("inf")

BREACHES: list[tuple[str, str, LoadedStudy, dict[int, dict[str, Any]]]] = [
    ("duplicate_ids", r"2 unit ids stand in 5 rows \(ids 1, 2\)", SOUND,
     {3: {"unit_id": "1"}, 4: {"unit_id": "1"}, 5: {"unit_id": "2"}}),
    ("null_id", "2 rows without an id in visit", SOUND,
     {3: {"unit_id": None}, 4: {"unit_id": None}}),
    ("null_cluster", r"1 row without a cluster in patient \(ids 3\)", SOUND,
     {3: {"cluster_id": None}}),
    ("null_time", r"1 row without a time in at \(ids 3\)", SOUND, {3: {"unit_time": None}}),
    ("outside_window", r"2 rows whose at lies outside the window \(ids 3, 4\)", SOUND,
     {3: {"unit_time": datetime(2024, 4, 1, 4, tzinfo=UTC)},
      4: {"unit_time": datetime(2024, 3, 1, 4, 59, tzinfo=UTC)}}),
    ("missing_treatment", r"1 row without the treatment dose \(ids 3\)", SOUND,
     {3: {"dose": None}}),
    ("not_binary", r"1 row whose treatment dose is neither 0 nor 1 \(ids 3\)", SOUND,
     {3: {"dose": 2}}),
    ("not_binary", "28 rows whose outcome pain is neither 0 nor 1", BINARY, {}),
    ("missing_outcome", r"7 rows without the outcome pain \(ids 0, 1, 10, 11, 12\)", STRICT,
     {i: {"pain": None} for i in (0, 1, 10, 11, 12, 13, 14)}),
    ("not_finite", r"1 row with NaN or an infinite pain \(ids 3\)", SOUND, {3: {"pain": NAN}}),
    ("not_finite", r"1 row with NaN or an infinite cost_7d \(ids 3\)", SOUND,
     {3: {"cost_7d": -INF}}),
    ("bad_weight", r"4 rows whose weight weight_of is not a positive number \(ids 3, 4, 5, 6\)",
     WEIGHTED,
     {3: {"weight": 0.0}, 4: {"weight": -1.0}, 5: {"weight": NAN}, 6: {"weight": None}}),
    ("unknown_arm", r"1 row whose dose is none of the arms 0, 1 \(ids 3\)", ARMS,
     {3: {"dose": 2}}),
    ("missing_instrument", r"1 row without the instrument visits_7d \(ids 3\)", MOVED,
     {3: {"visits_7d": None}}),
    ("not_binary", r"1 row whose instrument visits_7d is neither 0 nor 1 \(ids 3\)", MOVED,
     {3: {"visits_7d": 2}}),
    ("bad_propensity", "21 rows whose propensity cost is not between 0 and 1", KNOWN, {}),
    ("too_few_clusters", "6 clusters of patient; 4 folds need 8", MANY_FOLDS, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "words", "study", "changes"), BREACHES, ids=[each[0] for each in BREACHES]
)
def test_a_broken_promise(
    spark: SparkSession, code: str, words: str, study: LoadedStudy, changes: dict[int, Any]
) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        check(spark, units(changes), study)
    error = caught.value
    assert (error.code, error.exit_code, error.where.window) == (code, 4, "2024-03")
    assert error.remedy
    assert "promises" not in error.message  # this one alone


def test_sound_units_are_counted(spark: SparkSession) -> None:
    found = check(spark, units({}), SOUND)
    assert (found.rows, found.clusters) == (30, 6)


def test_an_empty_window(spark: SparkSession) -> None:
    with pytest.raises(ContractError, match="no units from 2024-03-01 05:00") as caught:
        check(spark, [], SOUND)
    assert caught.value.code == "empty_window"


def test_a_missing_outcome_that_is_dropped_is_no_breach(spark: SparkSession) -> None:
    assert check(spark, units({3: {"pain": None}}), SOUND).rows == 30
