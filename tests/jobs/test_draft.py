"""A first study from a table: always valid, and honest about its guesses."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from conf.load import parse_study
from conf.plan import effect_specs
from estimators.errors import ContractError, SourceError, UsageError
from jobs.draft import draft_study

UTC = pa.timestamp("us", tz="UTC")
VISITS = {
    "customer_id": pa.string(),
    "left_at": UTC,
    "visit_id": pa.int64(),  # never NULL, like `at`
    "at": UTC,
    "coupon": pa.bool_(),
    "treated": pa.int32(),
    "dose": pa.float64(),
    "spend": pa.float64(),
    "bought": pa.bool_(),
    "region": pa.string(),
    "price": pa.decimal128(10, 2),
    "day": pa.date32(),
    "tags": pa.list_(pa.string()),
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def table(tmp_path):
    def write(columns=VISITS, path=None, required=("visit_id", "at")):
        path = str(path or tmp_path / "visits")
        schema = pa.schema(
            [pa.field(name, kind, nullable=name not in required) for name, kind in columns.items()]
        )
        write_deltalake(path, schema.empty_table())
        return path

    return write


def _study(text):
    return parse_study(text, Path("draft.yaml"))


def test_a_boolean_treatment_gets_all_methods_and_guesses_of_id_and_time(table):
    text = draft_study(table(), "coupon", "spend")
    study = _study(text)
    assert study.study == "visits_coupon_spend"
    assert (study.units.id, study.units.time) == ("visit_id", "at")
    assert study.window.every == "1 month"
    assert study.treatments["coupon"].kind == "binary"
    assert study.outcomes["spend"].kind == "continuous"
    assert "CAST(coupon AS INT) AS coupon" in study.units.sql
    assert study.covariates == ["treated", "dose", "bought", "region", "price"]
    assert {spec.method for spec in effect_specs(study)} == {"plr", "irm"}
    assert len(study.checks) == 5


def test_the_comments_teach_what_to_ask_of_each_covariate(table):
    text = draft_study(table(), "coupon", "spend")
    covariates = [line for line in text.splitlines() if line.startswith("  - ") and "{" not in line]
    assert len(covariates) == 5
    assert all("known before treatment?" in line for line in covariates)
    assert "left out, ids and times: customer_id, left_at, day" in text


def test_an_integer_treatment_is_taken_as_binary_and_says_so(table):
    text = draft_study(table(), "treated", "spend")
    assert _study(text).treatments["treated"].kind == "binary"
    assert "for a dose write continuous" in text


def test_a_continuous_treatment_gets_plr_alone(table):
    study = _study(draft_study(table(), "dose", "bought", "Shop Visits 2"))
    assert study.study == "shop_visits_2"
    assert [spec.effect_id for spec in effect_specs(study)] == ["plr.slope.dose.bought"]
    assert study.outcomes["bought"].kind == "binary"
    assert [check.name for check in study.checks] == ["nuisance_quality"]


def test_without_a_timestamp_there_are_no_windows(table):
    columns = {name: kind for name, kind in VISITS.items() if kind != UTC}
    study = _study(draft_study(table(columns), "coupon", "spend"))
    assert study.window.every == "all"
    assert study.units.time is None
    assert ":window_start" not in study.units.sql


def test_a_table_in_the_lake_is_named_by_the_lake(table, home):
    path = table(path=home / "lake" / "visits")
    assert _study(draft_study(path, "coupon", "spend")).sources["source"].table == "{lake}/visits"


def test_odd_names_become_names_that_a_study_can_use(table):
    odd = {
        "id": pa.string(), "my treatment": pa.bool_(), "no": pa.float64(), "order": pa.int64(),
        "weight": pa.float64(), "Unit_ID": pa.string(), "1st": pa.float64(), "a`b": pa.float64(),
        "Größe": pa.float64(), "A": pa.float64(), "a.b": pa.float64(),
        "current_date": pa.string(), "rand": pa.float64(), "select": pa.string(),
        "null": pa.string(),
    }  # fmt: skip
    study = _study(draft_study(table(odd, required=("id",)), "my treatment", "no"))
    assert list(study.treatments) == ["my_treatment"]
    assert list(study.outcomes) == ["no"]
    assert {"weight_", "_1st", "a_b", "a_b_", "Gr__e", "order", "current_date"} <= set(
        study.covariates
    )
    assert "`my treatment`" in study.units.sql
    assert "`a``b` AS a_b" in study.units.sql


def test_an_id_named_unit_id_keeps_its_name(table):
    columns = {"unit_id": pa.int64(), "t": pa.bool_(), "y": pa.float64(), "x": pa.float64()}
    assert _study(draft_study(table(columns), "t", "y")).units.id == "unit_id"


@pytest.mark.parametrize(
    ("treatment", "outcome", "wrong", "near"),
    [
        ("cupon", "spend", "cupon", "coupon"),
        ("coupon", "Spend", "Spend", "spend"),
        ("coupon", "spemd", "spemd", "spend"),
        ("tags", "spend", "tags", None),
    ],
)
def test_a_column_that_is_not_there_names_the_nearest(table, treatment, outcome, wrong, near):
    with pytest.raises(UsageError) as caught:
        draft_study(table(), treatment, outcome)
    error = caught.value
    assert (error.exit_code, error.code, error.where.column) == (2, "no_column", wrong)
    assert error.where.table == "visits"
    assert "coupon, treated, dose" in error.remedy
    assert ("did you mean" in error.message) == (near is not None)
    assert near is None or f"{near!r}" in error.message


def test_treatment_and_outcome_must_be_two_columns(table):
    with pytest.raises(UsageError):
        draft_study(table(), "spend", "spend")


@pytest.mark.parametrize(
    ("treatment", "outcome"), [("region", "spend"), ("coupon", "day"), ("at", "spend")]
)
def test_types_that_cannot_serve_are_contract_errors(table, treatment, outcome):
    with pytest.raises(ContractError) as caught:
        draft_study(table(), treatment, outcome)
    assert (caught.value.exit_code, caught.value.code) == (4, "wrong_type")
    assert "number or a boolean" in caught.value.message


def test_nothing_for_an_id_or_a_covariate_is_a_contract_error(table, tmp_path):
    plain = {"t": pa.bool_(), "y": pa.float64(), "x": pa.float64()}
    with pytest.raises(ContractError) as caught:
        draft_study(table(plain), "t", "y")
    assert caught.value.code == "no_id"
    bare = {"id": pa.int64(), "t": pa.bool_(), "y": pa.float64()}
    with pytest.raises(ContractError) as caught:
        draft_study(table(bare, path=tmp_path / "bare"), "t", "y")
    assert caught.value.code == "no_covariates"


def test_id_time_and_cluster_can_be_named(table):
    columns = {
        "order no": pa.int64(),
        "bought_at": pa.timestamp("us"),
        "sent_at": UTC,
        "shop": pa.string(),
        "t": pa.bool_(),
        "y": pa.float64(),
        "x": pa.float64(),
    }
    named = {"unit_id": "order no", "time": "bought_at", "cluster": "shop"}
    path = table(columns, required=())
    text = draft_study(path, "t", "y", **named)
    study = _study(text)
    assert (study.units.id, study.units.time, study.units.cluster) == (
        "order_no",
        "bought_at",
        "shop",
    )
    assert study.covariates == ["x"]
    assert "without a zone, so taken as UTC" in text
    with pytest.raises(ContractError) as caught:
        draft_study(path, "t", "y", unit_id="order no", time="shop")
    assert caught.value.code == "wrong_type"
    with pytest.raises(UsageError) as refused:
        draft_study(path, "t", "y", unit_id="order_no")
    assert refused.value.code == "no_column"


def test_no_table_is_a_source_error(tmp_path):
    with pytest.raises(SourceError):
        draft_study(str(tmp_path / "nowhere"), "t", "y")
