"""Reward deconfounding as a published column."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from estimators.errors import ContractError
from jobs.predicted import deconfound
from jobs.predicted.deconfound import Reward, publish
from jobs.predicted.maps import PROPERTY
from tests.jobs.map_world import place

ASKED = Reward("ratings", "{lake}/ratings", "rating", "text", ("embedding",), ("channel", "hour"))


def ratings(n=3000, seed=5, *, lists=True):
    """Ratings of texts: the channel moves both what is written and how it is rated."""
    rng = np.random.default_rng(seed)
    channel, hour = rng.standard_normal(n), rng.uniform(0, 24, n)
    e = rng.standard_normal((n, 3)) + 0.8 * channel[:, None]
    part = 1.5 * channel + np.sin(hour / 24 * 2 * np.pi)
    rating = e @ [1.0, -0.5, 0.2] + part + 0.5 * rng.standard_normal(n)
    wide = {f"e{j}": e[:, j] for j in range(3)}
    return pa.table(
        {
            "text": [f"t{i}" for i in range(n)],
            "channel": channel,
            "hour": hour,
            "rating": rating,
            "part": part,
            **({"embedding": pa.array(e.tolist())} if lists else wide),
        }
    )


def write(home, rows):
    write_deltalake(f"{home}/lake/ratings", rows)
    return place(home)


def read(home):
    return DeltaTable(f"{home}/lake/maps/ratings").to_pyarrow_table().sort_by("text")


def test_the_confounders_part_is_taken_away_and_the_embeddings_stays(tmp_path):
    profile = write(tmp_path, ratings())
    stage = publish(ASKED, profile)
    rows = read(tmp_path)
    taken = rows["rating_confounding"].to_numpy()
    assert np.corrcoef(taken, rows["part"].to_numpy())[0, 1] > 0.98
    left = rows["rating_deconfounded"].to_numpy()
    np.testing.assert_allclose(left + taken, rows["rating"].to_numpy(), atol=1e-12)
    e = np.array(rows["embedding"].to_pylist())
    centred = e - e.mean(axis=0)
    slopes = np.linalg.lstsq(centred, left - left.mean(), rcond=None)[0]
    np.testing.assert_allclose(slopes, [1.0, -0.5, 0.2], atol=0.08)
    facts = json.loads(DeltaTable(f"{tmp_path}/lake/maps/ratings").history(1)[0][PROPERTY])
    assert facts["confounding_share"] == stage.detail["confounding_share"]
    assert facts["tables"]["outcomes"]["version"] == 0


def test_lists_and_columns_are_one_embedding(tmp_path):
    found = []
    for name, lists in (("lists", True), ("columns", False)):
        profile = write(tmp_path / name, ratings(lists=lists))
        embedding = ("embedding",) if lists else ("e0", "e1", "e2")
        publish(Reward("ratings", "{lake}/ratings", "rating", "text", embedding,
                       ("channel", "hour")), profile)  # fmt: skip
        found.append(read(tmp_path / name)["rating_deconfounded"].to_numpy())
    np.testing.assert_array_equal(*found)


def test_the_order_of_rows_changes_nothing_and_a_second_run_reuses(tmp_path):
    rows = ratings(800)
    turned = rows.take(np.random.default_rng(1).permutation(800))
    found = []
    for name, table in (("one", rows), ("two", turned)):
        profile = write(tmp_path / name, table)
        publish(ASKED, profile)
        assert publish(ASKED, profile).status == "reused"
        found.append(read(tmp_path / name)["rating_deconfounded"].to_numpy())
    np.testing.assert_array_equal(*found)


def spoilt(name, values):
    rows = ratings(100)
    return rows.set_column(rows.column_names.index(name), name, values)


BAD = {
    "not_finite": spoilt("rating", pa.array([None] + [1.5] * 99)),
    "duplicate_ids": spoilt("text", pa.array(["t0"] * 2 + [f"t{i}" for i in range(2, 100)])),
    "embedding": spoilt("embedding", pa.array([[1.0]] + [[1.0, 2.0]] * 99)),
}


@pytest.mark.parametrize("code", BAD)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, code):
    profile = write(tmp_path, BAD[code])
    with pytest.raises(ContractError) as caught:
        publish(ASKED, profile)
    assert (caught.value.code, caught.value.where.version) == (code, 0)
    assert not (tmp_path / "lake" / "maps").exists()


def test_the_command_prints_the_stage(tmp_path, monkeypatch, capsys):
    write(tmp_path, ratings(400))
    monkeypatch.setenv("CAUSEWAY_HOME", str(tmp_path))
    given = ["ratings", "--table", "{lake}/ratings", "--outcome", "rating", "--id", "text"]
    given += ["--embedding", "embedding", "--confounders", "channel", "hour"]
    assert deconfound.main(given) == 0
    assert json.loads(capsys.readouterr().out)["table"] == "maps/ratings"
