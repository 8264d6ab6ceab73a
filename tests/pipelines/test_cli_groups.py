"""`effects --by --contrast`: groups and contrasts of a real record, without a refit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
import statsmodels.api as sm

from jobs.contracts import EFFECTS
from jobs.lake import open_table, read_record
from jobs.windows import read_run
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway

STUDY = (
    prebuilt.STUDY.replace(
        "age, coupon, spend", "age, city, kind, gift, shop AS store, coupon, spend"
    )
    .replace("covariates: [age]", "covariates: [age, kind]")
    .replace("estimand: ate}", "estimand: ate, by: [city, gift]}")
)
PLR, ATE = "plr.slope.coupon.spend", "irm.ate.coupon.spend"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two months recorded; tests copy it."""
    home = tmp_path_factory.mktemp("groups") / "home"
    prebuilt.write_lake(home)
    place = prebuilt.place(home)
    file = prebuilt.write_study(home, STUDY)
    for month in prebuilt.MONTHS[:2]:
        prebuilt.record(file, month, place)
    return home


@pytest.fixture
def study(recorded: Path, home: Path) -> str:
    shutil.copytree(recorded, home)
    return str(home / "orders.yaml")


def by_id(rows: list[dict]) -> dict[str, dict]:
    return {row["effect_id"]: row for row in rows}


def test_declared_groups_are_shown_as_recorded(here: Causeway, study: str, home: Path) -> None:
    rows = here("effects", study, "--by", "city", "--json").object["effects"]
    assert len(rows) == 6, "three cities in two months, of the one effect that declares them"
    where = ds.field("group_by") == "city"
    stored = read_record(f"{home}/record", "effects", where).to_pylist()
    figures = {(row["run_key"], row["effect_id"]): row["band_low"] for row in stored}
    assert {(row["run_key"], row["effect_id"]): row["band_low"] for row in rows} == figures
    assert set(rows[0]) == {*EFFECTS.names, "checks_failed"}


def test_other_columns_come_from_unit_scores(here: Causeway, study: str, home: Path) -> None:
    """The formula itself, on the stored scores and the pinned features."""
    arguments = ("effects", study, "--window", "2024-01", "--by", "kind", "--json")
    rows = here(*arguments).object["effects"]
    assert {row["effect_id"] for row in rows} == {
        f"{effect}@kind={kind}" for effect in (PLR, ATE) for kind in prebuilt.KINDS
    }
    features = open_table(f"{home}/features/orders").to_pyarrow_table()
    kinds = dict(zip(features["unit_id"].to_pylist(), features["kind"].to_pylist(), strict=True))
    for row in rows:
        run = read_run(f"{home}/record", row["run_key"])
        effect = row["effect_id"].partition("@")[0]
        where = (ds.field("crossfit_key") == run.crossfit) & (ds.field("effect_id") == effect)
        mine = read_record(f"{home}/record", "scores", where)
        mine = mine.filter(
            [kinds[unit] == row["group_value"] for unit in mine["unit_id"].to_pylist()]
        )
        a, b = mine["psi_a"].to_numpy(), mine["psi_b"].to_numpy()
        cluster = np.unique(mine["cluster_id"].to_pylist(), return_inverse=True)[1]
        fitted = sm.WLS(-b / a, np.ones(len(a)), weights=-a).fit(
            cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True
        )
        assert row["theta"] == pytest.approx(-b.sum() / a.sum(), rel=1e-12)
        assert row["se"] == pytest.approx(fitted.bse[0], rel=1e-9)
        assert (row["n"], row["n_clusters"]) == (len(a), cluster.max() + 1)
        assert row["p_adjusted"] >= row["p_value"]
        assert row["naive"] is None
        assert row["status"] == "ok"


def test_units_without_a_value_are_counted(here: Causeway, study: str) -> None:
    arguments = ("effects", study, "--window", "2024-01", "--by", "gift")
    found = here(*arguments, "--json").object
    assert {each["group_value"] for each in found["effects"]} == set(prebuilt.KINDS)
    units = prebuilt.UNITS - 1  # one lies in the next month
    (outside,) = found["outside"]
    assert outside["effect_id"] == ATE
    assert (outside["outside"], outside["n"]) == (len(range(0, units, 5)), units)
    line = f"2024-01: {outside['outside']:,} of {units:,} units have no value of 'gift'"
    assert here(*arguments).out.count(line) == 1
    assert "outside" not in here(*arguments[:-1], "kind", "--json").object


def test_a_declared_grouping_can_be_had_of_other_effects(here: Causeway, study: str) -> None:
    """The same groups from cells and from scores: equal to rounding."""
    asked = ("effects", study, "--window", "2024-01", "--by", "city", "--json")
    recorded = by_id(here(*asked).object["effects"])
    both = by_id(here(*asked, "--effect", "*").object["effects"])
    assert set(both) == {f"{each}@city={city}" for each in (PLR, ATE) for city in prebuilt.CITIES}
    for name, row in recorded.items():
        for figure in ("theta", "se", "se_hc0", "p_value"):
            assert both[name][figure] == pytest.approx(row[figure], rel=1e-9)
        assert both[name]["p_adjusted"] >= row["p_value"]


def test_crossed_columns(here: Causeway, study: str) -> None:
    asked = ("effects", study, "--window", "2024-01", "--by", "city*kind", "--effect", ATE)
    rows = here(*asked, "--json").object["effects"]
    assert {row["group_value"] for row in rows} == {
        f"{city}*{kind}" for city in prebuilt.CITIES for kind in prebuilt.KINDS
    }


@pytest.mark.parametrize("adjust", ["romano-wolf", "holm"])
def test_contrasts_of_groups(here: Causeway, study: str, adjust: str) -> None:
    asked = ("effects", study, "--window", "2024-01", "--by", "city", "--adjust", adjust, "--json")
    given = ("--contrast", "Oslo,Rome", "--contrast", "city=Oslo,city=Lima")
    found = here(*asked, *given).object
    rows = by_id(found["effects"])
    first, second = found["contrasts"]
    assert first["first"]["effect_id"] == f"{ATE}@city=Oslo"
    assert second["second"]["effect_id"] == f"{ATE}@city=Lima"
    for each in (first, second):
        sides = [rows[each[side]["effect_id"]] for side in ("first", "second")]
        assert each["theta"] == pytest.approx(sides[0]["theta"] - sides[1]["theta"], rel=1e-12)
        assert each["p_adjusted"] >= each["p_value"]
        assert each["band_low"] <= each["ci_low"]
        assert each["se_kind"] == "cluster:shop"
    turned = here(*asked, "--contrast", "Rome,Oslo").object["contrasts"][0]
    assert (turned["theta"], turned["se"]) == (-first["theta"], first["se"])


def test_contrasts_of_effects_and_of_windows(here: Causeway, study: str) -> None:
    asked = ("effects", study, "--window", "2024-01", "--json")
    (methods,) = here(*asked, "--contrast", f"{ATE},{PLR}").object["contrasts"]
    rows = by_id(here(*asked).object["effects"])
    assert methods["theta"] == pytest.approx(rows[ATE]["theta"] - rows[PLR]["theta"], rel=1e-12)
    assert methods["se"] < rows[ATE]["se"], "two estimates on the same units move together"
    months = here("effects", study, "--contrast", "2024-02,2024-01", "--json").object["contrasts"]
    assert {each["first"]["effect_id"] for each in months} == {PLR, ATE}
    assert months[0]["first"]["window_start"] > months[0]["second"]["window_start"]
    text = here("effects", study, "--contrast", "2024-02,2024-01").out
    assert "2024-02 - 2024-01" in text


def test_tables_for_a_reader(here: Causeway, study: str) -> None:
    shown = here("effects", study, "--by", "city", "--contrast", "Oslo,Rome").out
    assert "joint band" in shown
    assert "city=Oslo - city=Rome" in shown
    assert "city = Lima" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--by", "kinds"), "unknown_column", "did you mean 'kind'"),
        (("--by", "store"), "not_stored", "declare `by: [store]`"),
        (("--by", "unit_id"), "unknown_column", "choose one of"),
        (("--by", "city", "--contrast", "Oslo"), "bad_contrast", "two sides"),
        (("--by", "city", "--contrast", "Oslo,Oslo"), "bad_contrast", "they differ"),
        (("--by", "city", "--contrast", "Olso,Rome"), "unknown_group", "did you mean 'Oslo'"),
        (("--contrast", "city=Oslo,kind=old"), "bad_contrast", "the same columns"),
        (("--contrast", "2024-01,2024-03"), "not_recorded", "2024-02"),
        (("--contrast", "Oslo,Rome"), "bad_contrast", "no group, effect or window"),
        (("--effect", "irm.att.*"), "unknown_effect", "irm.ate.coupon.spend"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(
    here: Causeway, study: str, arguments: tuple[str, ...], code: str, words: str
) -> None:
    refused = here("effects", study, *arguments, "--json")
    assert refused.code == 2, refused.err
    assert refused.object["error"]["code"] == code
    assert words in refused.err


def test_scores_that_were_never_stored(here: Causeway, recorded: Path, home: Path) -> None:
    shutil.copytree(recorded, home)
    shutil.rmtree(home / "record" / "scores")
    refused = here("effects", str(home / "orders.yaml"), "--by", "kind", "--json")
    assert refused.code == 5
    assert refused.object["error"]["code"] == "no_scores"
    assert "scores_max_rows" in refused.err
