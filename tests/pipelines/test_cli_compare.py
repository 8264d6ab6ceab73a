"""`compare`: a recorded window in DoubleML and EconML, real packages in processes of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import pytest

from jobs.peers.comparison import Compared, Comparison
from jobs.peers.problem import Measured
from jobs.windows import RecordedRun
from pipelines.compare import size_of, text
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway

PLR, ATE = "plr.slope.coupon.spend", "irm.ate.coupon.spend"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("compare") / "home"
    prebuilt.write_lake(home)
    file = prebuilt.write_study(home)
    prebuilt.record(file, "2024-01", prebuilt.place(home))
    return home


@pytest.fixture
def study(recorded: Path, home: Path) -> str:
    shutil.copytree(recorded, home)
    return str(home / "orders.yaml")


def files(home: Path) -> set[Path]:
    return {each.relative_to(home) for each in home.rglob("*") if each.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(900)  # six processes that import the peers
def test_peers_agree_and_nothing_is_written(here: Causeway, study: str, home: Path) -> None:
    before = files(home)
    shown = here("compare", study, "--with", "doubleml,econml", "--seeds", "2", "--json")
    assert shown.code == 0, shown.err
    found = shown.object
    assert found["schema"] == "causeway.compare/1"
    effects = {each["effect_id"]: each["packages"] for each in found["effects"]}
    assert set(effects) == {PLR, ATE}
    recorded = {row["effect_id"]: row for row in here("effects", study, "--json").object["effects"]}
    for name, packages in effects.items():
        assert [each["package"] for each in packages] == ["causeway", "doubleml", "econml"]
        assert all(each["agrees"] for each in packages), packages
        assert packages[0]["theta"] == pytest.approx(recorded[name]["theta"], rel=1e-12)
        assert packages[0]["se"] == pytest.approx(recorded[name]["se_hc0"], rel=1e-12)
        assert all(each["spread"] > 0 and each["seconds"] > 0 for each in packages)
    assert files(home) == before


def test_the_page_says_what_agrees_and_what_has_no_counterpart() -> None:
    ours = Measured(1.5, 0.25, (1.4, 1.6), 2.0, 30.0, "1")
    theirs = Measured(1.5 + 1e-12, 0.25, (1.3, 1.7), 8.0, 90.0, "2")
    effect = Compared(ATE, {"causeway": ours, "econml": theirs}, ("doubleml",))
    found = Comparison(cast("RecordedRun", None), 100, 240, (effect,), ("apo.mean.coupon.spend",))
    shown = text("orders", found)
    assert "a sample of 100 units" in shown
    assert "4.0e-12" in shown
    assert "Without a counterpart: apo.mean.coupon.spend" in shown


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--with", "causalml"), "unknown_peer"),
        (("--with", "econml", "--window", "2024-02"), "not_recorded"),
        (("--with", "econml", "--sample", "many"), "bad_sample"),
    ],
)
def test_what_cannot_be_compared_is_named(
    here: Causeway, study: str, arguments: tuple[str, ...], code: str
) -> None:
    refused = here("compare", study, *arguments, "--json")
    assert refused.code == 2
    assert refused.object["error"]["code"] == code


def test_a_peer_that_is_not_installed(
    here: Causeway, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.peers.comparison.find_spec", lambda name: None)
    refused = here("compare", study, "--json")
    assert refused.code == 6
    assert refused.object["error"]["code"] == "no_peer"


@pytest.mark.parametrize(("given", "size"), [("200k", 200_000), ("1m", 1_000_000), ("7", 7)])
def test_sizes(given: str, size: int) -> None:
    assert size_of(given) == size
