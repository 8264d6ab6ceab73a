import numpy as np
import pytest

from estimators.debias.calibration import Calibration, calibration_rows
from estimators.debias.gate import MIN_STRATUM, StratumMeans, decide, examine
from estimators.debias.labelled import (
    labelled_rows,
    linear_means,
    naive_means,
    residual_sums,
    run_gate,
    tweedie_means,
)
from estimators.debias.linear import fit_linear
from estimators.debias.tweedie import fit_tweedie
from tests.estimators.debias.samples import channel

SEED = np.random.SeedSequence(1)


def means(
    difference: list[float], se: float = 0.01, candidate: str = "none", n: int = 500
) -> StratumMeans:
    names = tuple(f"arm={arm}" for arm in range(len(difference)))
    return StratumMeans(
        candidate, names, np.full(len(difference), n), np.array(difference),
        se**2 * np.eye(len(difference)), 1.0,
    )  # fmt: skip


def people(n: int, generator: np.random.Generator, *, shift: bool = True) -> Calibration:
    """Two arms that differ by 2. With `shift`, P(Yhat | Y) is stable; else P(Y | Yhat) is."""
    arm = np.arange(n) % 2
    y = 1.5 * generator.standard_normal(n) + 2.0 * arm - 1.0
    if shift:
        return calibration_rows(channel(y, generator, 0.6, 3.25), y, arm=arm)
    return calibration_rows(y, y + generator.standard_normal(n), arm=arm)


@pytest.mark.parametrize(
    ("difference", "se", "found"),
    [([0.0, 0.01], 0.01, "fine"), ([0.0, 0.2], 0.01, "wrong"), ([0.0, 0.01], 0.2, "unclear")],
)
def test_not_rejecting_is_no_evidence(difference: list[float], se: float, found: str) -> None:
    assert examine(means(difference, se)).found == found


def test_a_difference_within_the_margin_still_must_not_be_rejected() -> None:
    test = examine(means([0.05, -0.05], 0.005))
    assert np.all(test.reach < test.margin)
    assert test.found == "wrong"


def test_margin_and_level_are_asked_for() -> None:
    assert examine(means([0.0, 0.15], 0.1)).found == "unclear"
    assert examine(means([0.0, 0.15], 0.1), margin=0.5).found == "fine"
    assert examine(means([0.0, 0.15], 0.1), level=0.5).found == "wrong"


def test_wald_statistic_by_hand() -> None:
    test = examine(means([0.01, -0.02], 0.01))
    assert test.statistic == pytest.approx(5.0)
    assert test.df == 2
    assert test.p_value == pytest.approx(np.exp(-2.5))


def test_a_singular_covariance_is_tested_over_its_range() -> None:
    base = means([0.02, -0.02])
    singular = 1e-4 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    test = examine(StratumMeans("lcc", base.strata, base.n, base.difference, singular, 1.0))
    assert test.df == 1
    assert test.statistic == pytest.approx(4.0)


def test_a_covariance_from_draws_is_referred_to_f() -> None:
    base = means([0.02, -0.02])
    drawn = StratumMeans("tweedie", base.strata, base.n, base.difference, base.covariance, 1.0, 50)
    assert examine(drawn).p_value > examine(base).p_value


def test_the_four_answers() -> None:
    fine, wrong = [0.0, 0.0], [0.3, -0.3]
    assert decide(None).answer == "untested"
    assert decide(means(fine)).answer == "naive_ok"
    assert decide(means(fine)).correction == "none"
    gate = decide(means(wrong), [means(wrong, candidate="lcc"), means(fine, candidate="tweedie")])
    assert (gate.answer, gate.correction) == ("correct", "tweedie")
    both = decide(means(wrong), [means(fine, candidate="lcc"), means(fine, candidate="tweedie")])
    assert both.correction == "lcc"
    none = decide(means(wrong), [means(wrong, candidate="lcc")])
    assert (none.answer, none.correction) == ("ppi", "ppi")
    assert "lcc is wrong" in none.reason
    unclear = decide(means(fine, se=1.0), [means(fine, se=1.0, candidate="lcc")])
    assert unclear.answer == "ppi"


def test_a_thin_stratum_leaves_the_gate_untested() -> None:
    gate = decide(means([0.0, 0.0], n=MIN_STRATUM - 1))
    assert gate.answer == "untested"
    assert "29" in gate.reason
    assert decide(means([0.0, 0.0], n=MIN_STRATUM)).answer == "naive_ok"


def test_rows_without_an_arm_leave_the_gate_untested() -> None:
    rows = people(500, np.random.default_rng(1))
    bare = calibration_rows(rows.prediction, rows.truth, group=rows.arm)
    assert labelled_rows(bare) is None
    assert run_gate(bare, {"lcc": fit_linear(bare)}, SEED).answer == "untested"


def test_label_shift_is_corrected_and_the_reverse_is_left_alone() -> None:
    for shift, answer in ((True, "correct"), (False, "naive_ok")):
        answers = []
        for seed in range(20):
            rows = people(4_000, np.random.default_rng(seed), shift=shift)
            gate = run_gate(rows, {"lcc": fit_linear(rows)}, SEED)
            answers.append(gate.answer)
            lcc, naive = gate.test("lcc"), gate.test("none")
            assert lcc is not None
            assert naive is not None
            assert (naive if shift else lcc).found == "wrong"
        # At level 0.05, six or more of 20 are refused with probability 3e-4.
        assert answers.count(answer) >= 15
        assert set(answers) <= {answer, "ppi"}


def test_the_table_has_a_row_a_candidate_and_stratum() -> None:
    rows = people(4_000, np.random.default_rng(3))
    north = np.where(np.arange(4_000) % 3 == 0, "north", "south")
    rows = calibration_rows(rows.prediction, rows.truth, arm=rows.arm, group=north)
    gate = run_gate(rows, {"lcc": fit_linear(rows), "tweedie": fit_tweedie(rows)}, SEED)
    table = gate.table()
    assert len(table) == 3 * 4
    assert {row["stratum"] for row in table} == {
        f"arm={arm}, group={group}" for arm in (0, 1) for group in ("north", "south")
    }
    assert all(row["margin"] == pytest.approx(0.1) for row in table)
    assert sum(row["n"] for row in table) == 3 * 4_000


def test_residual_sums_add_up_and_give_weighted_means() -> None:
    rows = people(600, np.random.default_rng(4))
    weight = np.random.default_rng(5).random(600) + 0.5
    labelled = labelled_rows(rows, weight=weight)
    assert labelled is not None
    whole = residual_sums(labelled, rows.prediction)
    residual = rows.prediction - rows.truth
    for g, arm in enumerate((0, 1)):
        here = rows.arm == arm
        w, r = weight[here], residual[here]
        mean = np.average(r, weights=w)
        assert whole.mean[g] == pytest.approx(mean)
        assert whole.variance[g] == pytest.approx(np.sum(w**2 * (r - mean) ** 2) / np.sum(w) ** 2)
    twice = whole + whole
    assert np.allclose(twice.mean, whole.mean)
    assert np.allclose(twice.variance, whole.variance / 2.0)
    assert twice.n.sum() == 1_200


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    "candidate", ["none", "lcc", pytest.param("tweedie", marks=pytest.mark.slow)]
)
def test_covariance_is_the_spread_over_fresh_rows(candidate: str, own: bool) -> None:
    generator = np.random.default_rng(6)

    def once(seed: np.random.SeedSequence, draws: int) -> StratumMeans:
        rows = people(600, generator)
        labelled = labelled_rows(rows if own else people(400, generator), own=own)
        assert labelled is not None
        if candidate == "lcc":
            return linear_means(labelled, fit_linear(rows), rows)
        if candidate == "tweedie":
            return tweedie_means(labelled, fit_tweedie(rows), rows, seed, draws)
        return naive_means(labelled)

    seeds = np.random.SeedSequence(2).spawn(400)
    found = [once(seed, 200 if i < 10 else 2) for i, seed in enumerate(seeds)]
    spread = np.cov(np.array([each.difference for each in found]).T)
    mean = np.mean([each.covariance for each in found[:10]], axis=0)
    # 400 repetitions know a variance to 7 %, the mean of ten to about as much.
    assert np.max(np.abs(mean - spread)) < 0.3 * spread.max()
    if candidate == "lcc" and own:
        assert np.linalg.matrix_rank(found[0].covariance, tol=1e-12) == 1
