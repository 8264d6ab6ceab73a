"""A recorded study of arms and instruments beside DoubleML, from its features and folds."""

from pathlib import Path

import pytest

from jobs.peers import comparison
from jobs.peers.process import measure
from tests.jobs.test_models_study import STUDY, run

WIDE = STUDY.replace(", propensity: p_offer", "").replace("p_offer, ", "") + (
    "  - {method: irm, estimand: atu, treatment: took}\n"
    "  - {method: irm, estimand: ato, treatment: took}\n"
)


@pytest.mark.filterwarnings("ignore")  # the peer's warnings are not ours to mend
def test_arms_instruments_and_the_untreated_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects, _, (found, _, profile) = run(tmp_path, WIDE)
    # In this process: eight others that import the packages would take minutes.
    monkeypatch.setattr(
        "jobs.peers.comparison.measured", lambda name, problem, _folder: measure(name, problem)
    )
    request = comparison.Request(None, ("doubleml",), seeds=1)
    shown = comparison.compare(profile, found.loaded, request)
    compared = {each.effect_id: each for each in shown.effects}
    whole = {name for name in effects if "@" not in name}
    assert set(compared) == whole - {"irm.ato.took.spend"}
    assert shown.skipped == ("irm.ato.took.spend",)
    assert [each.split(" ", 2)[:2] for each in shown.notes] == [
        ["DoubleML's", "ATU"],
        ["No", "package"],
    ]
    for name, each in compared.items():
        assert each.agreement("doubleml") < 1e-9, name
        ours = each.packages["causeway"]
        assert ours.theta == pytest.approx(effects[name]["theta"], rel=1e-9)
        assert ours.se == pytest.approx(effects[name]["se_hc0"], rel=1e-9)
