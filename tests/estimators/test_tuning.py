"""What is chosen inside a training fold: rows, rounds, parameters; never by held-out rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from estimators.crossfit import fit, plan, tasks
from estimators.learners import draws_inside, open_fold, seed_of, shares_matrix
from estimators.learners.draws import mixed, parts
from estimators.learners.tuning import choose, loss, own, split, subsample
from tests.estimators.samples import BOOSTED, LINEAR, Size, build, effect
from tests.estimators.test_learners import data

STOPPED = BOOSTED | {"learning_rate": 0.3, "n_estimators": 300, "early_stopping_rounds": 5}
PENALTIES = ((("penalty", 0.01),), (("penalty", 30.0),), (("penalty", 1e6),))


def hashes(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def sample(seed: int = 7, **size):
    units = build(seed, Size(240, k=3, clusters=40, **size))
    return replace(units, place=hashes(40)[units.cluster], unit=hashes(240, 1))


def learner(spec):
    return effect(outcome_learner=spec, treatment_learner=spec)


def predictions(units, spec, salt: str = "") -> list[np.ndarray]:
    return [fit(units, task, salt) for task in tasks(units, plan(units, (learner(spec),)))]


def test_the_split_keeps_clusters_whole() -> None:
    place = hashes(30)[np.random.default_rng(0).integers(0, 30, 600)]
    found = split(place, 0)
    assert set(place[found.fit]).isdisjoint(place[found.judge])
    assert sorted([*found.fit, *found.judge]) == list(range(600))
    assert 0.1 < len(found.judge) / 600 < 0.3


def test_early_stopping_is_xgboosts_on_the_rows_kept_for_judging() -> None:
    """The rounds that its own front door finds, and then a fit on all training rows."""
    import xgboost as xgb

    design, train, _, weight, y = data()
    inner = split(hashes(len(train)), 0)
    opening = open_fold(BOOSTED, design, train[inner.fit], train[inner.judge], weight)
    chosen = choose(STOPPED, opening, y[train], weight[train], inner, kind="continuous", seed=5)
    settings = {k: v for k, v in STOPPED.items() if k != "learner"}
    fitting, judging = train[inner.fit], train[inner.judge]
    model = xgb.XGBRegressor(
        **settings, tree_method="hist", n_jobs=1, random_state=5, enable_categorical=True,
        base_score=float(np.average(y[fitting], weights=weight[fitting])),
        feature_types=design.feature_types,
    )  # fmt: skip
    model.fit(
        design.values[fitting], y[fitting], sample_weight=weight[fitting], verbose=False,
        eval_set=[(design.values[judging], y[judging])], sample_weight_eval_set=[weight[judging]],
    )  # fmt: skip
    assert 1 < chosen["n_estimators"] < 300
    assert chosen["n_estimators"] == model.best_iteration + 1
    assert "early_stopping_rounds" not in chosen


def test_stopping_early_beats_boosting_on() -> None:
    units = sample()
    noise = np.random.default_rng(0).standard_normal(units.n)
    units = replace(units, outcomes=dict(units.outcomes) | {"y": noise})
    error = {}
    for name, spec in (("stopped", STOPPED), ("greedy", own(STOPPED))):
        found = np.concatenate([each[1] for each in predictions(units, spec)])
        order = np.concatenate([np.flatnonzero(units.fold[:, 0] == k) for k in range(3)])
        error[name] = float(((found - noise[order]) ** 2).mean())
    assert error["stopped"] < error["greedy"] * 0.9


def test_the_search_takes_what_predicts_best_inside() -> None:
    design, train, _, weight, y = data()
    place = hashes(len(y))
    inner = split(place[train], 0)
    opened = open_fold(LINEAR, design, train[inner.fit], train[inner.judge], weight)
    spec = LINEAR | {"search": PENALTIES}
    chosen = choose(spec, opened, y[train], weight[train], inner, kind="continuous", seed=0)
    losses = []
    for ((_, penalty),) in PENALTIES:
        one = LINEAR | {"penalty": penalty}
        predicted = opened.predict(y[train][inner.fit], "continuous", one, 0)
        losses.append(
            loss(y[train][inner.judge], predicted, weight[train][inner.judge], "continuous")
        )
    assert chosen == LINEAR | {"penalty": PENALTIES[int(np.argmin(losses))][0][1]}


def test_a_fit_with_a_search_is_the_fit_of_its_choice() -> None:
    units = sample()
    found = predictions(units, LINEAR | {"search": PENALTIES})
    each = [predictions(units, LINEAR | dict(changes)) for changes in PENALTIES]
    for task, values in enumerate(found):
        for target in range(2):
            assert any(values[target].tobytes() == one[task][target].tobytes() for one in each)


DEPTHS = ((("max_depth", 1),), (("max_depth", 6),))
CHOOSING = {
    "rounds": STOPPED,
    "search": LINEAR | {"search": PENALTIES},
    "both": STOPPED | {"search": DEPTHS},
}


@pytest.mark.parametrize("spec", CHOOSING.values(), ids=CHOOSING)
def test_held_out_rows_choose_nothing(spec) -> None:
    """Spoilt outcomes of the held-out fold change no prediction of it."""
    units = sample()
    first = tasks(units, plan(units, (learner(spec),)))[0]
    held_out = units.fold[:, first.rep] == first.fold
    y = np.where(held_out, 1e3 - 5.0 * units.outcomes["y"], units.outcomes["y"])
    spoilt = replace(units, outcomes=dict(units.outcomes) | {"y": y})
    assert fit(units, first, "").tobytes() == fit(spoilt, first, "").tobytes()


def test_log_loss_judges_a_binary_target() -> None:
    y, p, weight = np.array([1.0, 0.0, 1.0]), np.array([0.8, 0.4, 1.0]), np.array([1.0, 2.0, 1.0])
    by_hand = -(np.log(0.8) + 2 * np.log(0.6) + np.log(1 - 1e-6)) / 4
    assert loss(y, p, weight, "binary") == pytest.approx(by_hand, rel=1e-12)


def test_max_train_rows_trains_on_a_subsample_and_predicts_everywhere() -> None:
    units = sample()
    few = predictions(units, LINEAR | {"max_train_rows": 100})
    whole = predictions(units, LINEAR)
    assert [each.shape for each in few] == [each.shape for each in whole]
    assert all(np.isfinite(each).all() for each in few)
    assert few[0].tobytes() != whole[0].tobytes()
    more = predictions(units, LINEAR | {"max_train_rows": 10_000})
    assert [each.tobytes() for each in more] == [each.tobytes() for each in whole]
    held_out = units.fold[:, 0] == 0
    train = subsample(np.flatnonzero(~held_out), units.unit, 100, seed_of("", 0, "max_train_rows"))
    assert len(train) == 100
    alone = open_fold(LINEAR, units.design, train, np.flatnonzero(held_out), units.weight)
    by_hand = alone.predict(units.treatments["d"][train], "binary", LINEAR, 0)
    assert few[0][0].tobytes() == by_hand.tobytes()


def test_the_subsample_follows_the_units_ids_not_their_places() -> None:
    """A unit more or less moves one other at most; another seed draws others."""
    unit, rows = hashes(500, 4), np.arange(500)
    drawn = set(unit[subsample(rows, unit, 100, 1)])
    assert drawn == set(unit[::-1][subsample(rows, unit[::-1], 100, 1)])
    fewer = set(unit[subsample(np.arange(1, 500), unit, 100, 1)])
    assert len(drawn ^ fewer) <= 2
    assert 5 < len(drawn & set(unit[subsample(rows, unit, 100, 2)])) < 50


def test_mixing_hashes_leaves_no_pattern() -> None:
    rows = np.arange(100_000, dtype=np.uint64)
    for seed in (0, 1, 2**31 - 1):
        share = np.bincount((mixed(rows, seed) % np.uint64(10)).astype(int)) / len(rows)
        assert np.abs(share - 0.1).max() < 0.005
    assert np.mean(parts(rows, 5, 0) == parts(rows, 5, 1)) == pytest.approx(0.2, abs=0.01)


def test_targets_share_an_opened_fold_where_their_rows_are_the_same() -> None:
    assert shares_matrix(STOPPED) == shares_matrix(BOOSTED)
    assert shares_matrix(BOOSTED | {"max_train_rows": 100}) != shares_matrix(BOOSTED)
    assert [draws_inside(each) for each in (BOOSTED, STOPPED, BOOSTED | {"max_train_rows": 9})] == [
        False, True, True,
    ]  # fmt: skip


def test_what_is_chosen_inside_is_no_parameter_of_a_fit() -> None:
    assert own(STOPPED | {"search": (), "max_train_rows": 5}) == {
        key: value for key, value in STOPPED.items() if key != "early_stopping_rounds"
    }
