"""Each package on one problem: 1e-9 on our folds and predictions, and near us on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from estimators.errors import PlatformError
from jobs.peers.packages import OFFERS, PACKAGES
from jobs.peers.problem import Measured, Problem, as_json, from_json, load, save
from jobs.peers.process import measured
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, oracle

CASES = [(peer, *effect.split(".")) for peer in ("doubleml", "econml") for effect in OFFERS[peer]]
PEERS_OWN = pytest.mark.filterwarnings("ignore")  # the peers' warnings are not ours to mend


def problem(method: str, estimand: str, learner: dict = LINEAR, n: int = 403) -> Problem:
    """An effect with arbitrary nuisances: of ``d``, of an arm, or moved by ``b`` or ``v``."""
    units = build(71, Size(n, k=4))
    names = {
        "plr.slope": ("m", "l"),
        "irm.att": ("m", "g0"),
        "irm.atu": ("m", "g1"),
        "apo.mean": ("m", "g1"),
        "apo.ate": ("m", "g1", "m0", "g0"),
        "pliv.slope": ("m", "l", "r"),
        "iivm.late": ("m", "g0", "g1", "r0", "r1"),
    }.get(f"{method}.{estimand}", ("m", "g0", "g1"))
    known = oracle(units)
    more = {"m0": 0.5 * known["m"], "r": known["m"], "r0": 0.8 * known["m"], "r1": known["m"]}
    d, z = {
        "apo": ("arm=c", "arm=a" if estimand == "ate" else None),
        "pliv": ("t", "v"),
        "iivm": ("d", "b"),
    }.get(method, ("d", None))
    kind = "continuous" if method == "pliv" else "binary"
    return Problem(
        "effect", method, estimand, 0.1, units.outcomes["y"], units.treatments[d],
        units.design.values, {}, units.fold[:, 0].astype(np.int64),
        {name: (known | more)[name] for name in names},
        {"outcome": "continuous", "treatment": kind, "exposure": kind},
        {"outcome": learner, "treatment": learner}, 1, 2,
        None if z is None else units.treatments[z],
    )  # fmt: skip


@PEERS_OWN
@pytest.mark.parametrize(("peer", "method", "estimand"), CASES)
def test_the_same_predictions_give_the_same_figures(peer: str, method: str, estimand: str) -> None:
    given = problem(method, estimand)
    ours, theirs = (PACKAGES[name]().same(given) for name in ("causeway", peer))
    assert theirs == pytest.approx(ours, rel=1e-9)


@PEERS_OWN
@pytest.mark.slow
@pytest.mark.parametrize("learner", [LINEAR, BOOSTED], ids=["linear", "xgboost"])
@pytest.mark.parametrize(("peer", "method", "estimand"), CASES)
def test_own_folds_give_estimates_nearby(
    peer: str, method: str, estimand: str, learner: dict
) -> None:
    given = problem(method, estimand, learner, n=1500)
    theta, se = PACKAGES[peer]().anew(given, 3)
    ours = PACKAGES["causeway"]().anew(given, 3)
    assert abs(theta - ours[0]) < 1.5 * ours[1]
    assert se == pytest.approx(ours[1], rel=0.25)


def test_a_problem_and_a_result_survive_the_way_between_processes(tmp_path: Path) -> None:
    given = problem("irm", "ate")
    save(given, tmp_path / "problem.npz")
    back = load(tmp_path / "problem.npz")
    assert np.array_equal(back.x, given.x)
    assert np.array_equal(back.nuisance["g1"], given.nuisance["g1"])
    assert (back.learners, back.kinds, back.clip) == (given.learners, given.kinds, given.clip)
    found = Measured(0.1 + 0.2, 1 / 3, (0.1, 0.2), 1.5, 20.0, "1")
    assert from_json(as_json(found)) == found


@pytest.mark.slow
def test_a_package_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="KeyError: 'nobody'") as caught:
        measured("nobody", problem("plr", "slope"), tmp_path)
    assert caught.value.code == "peer_failed"
    assert "--with" in caught.value.remedy
