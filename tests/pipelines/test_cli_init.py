"""`init`: a valid study from a real table, and no file overwritten."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.pipelines.command import Causeway

ARGUMENTS = ("--treatment", "coupon", "--outcome", "spend")


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "orders"
    columns = {
        "order_id": [1, 2, 3],
        "coupon": [True, False, True],
        "spend": [1.5, 2.5, 3.5],
        "age": [30, 40, 50],
        "city": ["a", "b", "a"],
    }
    write_deltalake(str(path), pa.table(columns))
    return str(path)


def test_the_study_it_writes_is_valid(here: Causeway, table: str, tmp_path: Path) -> None:
    made = here("init", "--table", table, *ARGUMENTS, "--name", "orders", "--json")
    assert made.code == 0, made.err
    assert made.object["study"] == "orders"
    assert Path(made.object["file"]).resolve() == tmp_path / "orders.yaml"
    checked = here("validate", "orders.yaml", "--json")
    assert checked.code == 0, checked.err
    assert checked.object["effects"] == made.object["effects"]


def test_a_file_that_exists_is_not_overwritten(here: Causeway, table: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    refused = here("init", "--table", table, *ARGUMENTS, "--output", "mine.yaml")
    assert refused.code == 2
    assert "is not overwritten" in refused.err
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        (("--table", "nowhere"), 5, "no readable Delta table"),
        (("--treatment", "cupon"), 2, "did you mean 'coupon'?"),
        (("--outcome", "city"), 4, "the outcome is a string"),
        (("--outcome", "coupon"), 2, "treatment and outcome"),
        (("--output", "no/such/folder.yaml"), 2, "cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    here: Causeway, table: str, changed: tuple[str, str], code: int, says: str
) -> None:
    tmp_path = Path(table).parent
    before = sorted(tmp_path.rglob("*.yaml"))
    refused = here("init", "--table", table, *ARGUMENTS, *changed)  # the last option wins
    assert refused.code == code, refused.err
    assert says in refused.err
    assert sorted(tmp_path.rglob("*.yaml")) == before
