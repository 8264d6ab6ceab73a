from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from estimators.errors import ContractError
from estimators.gram.accumulate import accumulate
from estimators.gram.blas import unpack
from estimators.gram.columns import Rows, coded, join
from estimators.gram.layout import Layout
from estimators.gram.partials import Partial, Tree, by_fold, digest, merge
from tests.estimators.gram.world import Size, basis_columns, make_layout, make_rows

ROWS = make_rows()
LAYOUT = make_layout(ROWS)


def merged(layout: Layout, partials: list[Partial]) -> bytes:
    return b"".join(
        sums.gram.tobytes() + sums.missing.tobytes() for sums in by_fold(layout, partials)
    )


def by_bucket(layout: Layout, rows: Rows) -> list[Rows]:
    bucket = layout.buckets(rows.place)
    return [rows.take(bucket == each) for each in np.unique(bucket)]


def test_the_gram_is_the_plain_product():
    design = np.column_stack(
        [
            np.ones(ROWS.n),
            basis_columns(LAYOUT, ROWS),
            *(values - c for values, c in zip(
                [*ROWS.treatments.values(), *ROWS.outcomes.values()], LAYOUT.centre, strict=True
            )),
        ]
    )  # fmt: skip
    filled = np.nan_to_num(design)
    for fold, sums in enumerate(by_fold(LAYOUT, accumulate(LAYOUT, ROWS))):
        mine = ROWS.fold == fold
        plain = (filled[mine] * ROWS.weight[mine, None]).T @ filled[mine]
        np.testing.assert_allclose(unpack(sums.gram, LAYOUT.q), plain, rtol=1e-11, atol=1e-9)
        gone = mine & np.isnan(ROWS.outcomes["y2"])
        r = LAYOUT.with_treatments
        plain = (filled[gone, :r] * ROWS.weight[gone, None]).T @ filled[gone, :r]
        np.testing.assert_allclose(unpack(sums.missing[0], r), plain, rtol=1e-11, atol=1e-9)
        assert (sums.n, sums.n_missing.tolist()) == (mine.sum(), [gone.sum()])


@pytest.mark.parametrize("seed", range(3))
def test_row_order_does_not_show(seed):
    order = np.random.default_rng(seed).permutation(ROWS.n)
    assert digest(LAYOUT, accumulate(LAYOUT, ROWS.take(order))) == digest(
        LAYOUT, accumulate(LAYOUT, ROWS)
    )


def test_equal_hashes_are_ordered_by_value():
    rows = replace(ROWS, unit=ROWS.unit % np.uint64(7))
    order = np.random.default_rng(3).permutation(rows.n)
    assert digest(LAYOUT, accumulate(LAYOUT, rows.take(order))) == digest(
        LAYOUT, accumulate(LAYOUT, rows)
    )


def test_a_label_list_in_another_order_does_not_show():
    carrier = ROWS.covariates["carrier"]
    labels = carrier.labels  # type: ignore[union-attr]
    back = replace(
        carrier,
        codes=np.where(carrier.codes < 0, -1, len(labels) - 1 - carrier.codes),  # type: ignore[union-attr]
        labels=labels[::-1],
    )
    rows = replace(ROWS, covariates={**ROWS.covariates, "carrier": back})
    assert digest(LAYOUT, accumulate(LAYOUT, rows)) == digest(LAYOUT, accumulate(LAYOUT, ROWS))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_in_any_order_gives_the_same_bytes(workers):
    batches = by_bucket(LAYOUT, ROWS)
    np.random.default_rng(workers).shuffle(batches)  # type: ignore[arg-type]
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda batch: accumulate(LAYOUT, batch), batches))
    partials = [each for result in reversed(results) for each in result]
    whole = accumulate(LAYOUT, ROWS)
    assert digest(LAYOUT, partials) == digest(LAYOUT, whole)
    assert merged(LAYOUT, partials) == merged(LAYOUT, whole)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_blas_threads_of_the_process_do_not_show(threads):
    rows = make_rows(Size(n=30_000, numbers=20, seed=9))
    layout = replace(make_layout(rows), block=4096)
    with threadpool_limits(1):
        one = digest(layout, accumulate(layout, rows))
    with threadpool_limits(threads):
        assert digest(layout, accumulate(layout, rows)) == one


def days(rows: Rows) -> list[Rows]:
    day = np.random.default_rng(5).integers(0, 4, rows.n)
    return [rows.take(day == each) for each in range(4)]


def test_yesterdays_partials_and_a_new_day_are_those_from_scratch():
    first, *rest = days(ROWS)
    kept = accumulate(LAYOUT, first, slice_=19_000)
    for offset, day in enumerate(rest, start=1):
        kept = kept + accumulate(LAYOUT, day, slice_=19_000 + offset)
        scratch = [
            each
            for i, past in enumerate(days(ROWS)[: offset + 1])
            for each in accumulate(LAYOUT, past, slice_=19_000 + i)
        ]
        assert digest(LAYOUT, kept) == digest(LAYOUT, scratch)
        assert merged(LAYOUT, kept) == merged(LAYOUT, scratch)


def test_a_late_day_lands_where_it_would_have_been():
    parts = [accumulate(LAYOUT, day, slice_=i) for i, day in enumerate(days(ROWS))]
    late = [*parts[0], *parts[2], *parts[3], *parts[1]]
    on_time = [each for part in parts for each in part]
    assert digest(LAYOUT, late) == digest(LAYOUT, on_time)
    assert merged(LAYOUT, late) == merged(LAYOUT, on_time)


def test_an_erased_person_costs_their_own_leaf():
    partials = accumulate(LAYOUT, ROWS)
    erased = 1234
    leaf = int(ROWS.fold[erased]), int(LAYOUT.buckets(ROWS.place)[erased])
    in_leaf = (ROWS.fold == leaf[0]) & (LAYOUT.buckets(ROWS.place) == leaf[1])
    kept = np.arange(ROWS.n) != erased
    again = accumulate(LAYOUT, ROWS.take(in_leaf & kept))
    mended = [each for each in partials if (each.leaf.fold, each.leaf.bucket) != leaf] + again
    scratch = accumulate(LAYOUT, ROWS.take(kept))
    assert len(again) == 1
    assert digest(LAYOUT, mended) == digest(LAYOUT, scratch)
    assert digest(LAYOUT, mended) != digest(LAYOUT, partials)
    assert merged(LAYOUT, mended) == merged(LAYOUT, scratch)


def test_a_cluster_a_bucket():
    layout = replace(LAYOUT, depth=64)
    partials = accumulate(layout, ROWS)
    assert {each.leaf.bucket for each in partials} == set(ROWS.place.tolist())
    for ours, theirs in zip(by_fold(layout, partials), by_fold(LAYOUT, accumulate(LAYOUT, ROWS)),
                            strict=True):  # fmt: skip
        np.testing.assert_allclose(ours.gram, theirs.gram, rtol=1e-10, atol=1e-8)


def test_the_tree_adds_aligned_ranges_in_one_piece():
    draw = np.random.default_rng(8)
    positions = np.sort(draw.choice(64, 40, replace=False)).tolist()
    values = dict(zip(positions, draw.normal(size=40).tolist(), strict=True))
    whole = merge(values.items())
    for height in (1, 2, 3, 4, 5):
        tree: Tree[float] = Tree()
        for start in range(0, 64, 1 << height):
            inside = [(at, values[at]) for at in positions if start <= at < start + (1 << height)]
            part = merge(inside)
            if part is not None:
                tree.push(start, part)
        assert tree.result() == whole
    assert whole != sum(values.values())
    assert whole == pytest.approx(sum(values.values()))


def test_the_tree_is_that_of_the_bits():
    leaves = {0: 0.1, 1: 0.2, 3: 0.3, 6: 0.7, 40: 1e-17}
    assert merge(leaves.items()) == (((0.1 + 0.2) + 0.3) + 0.7) + 1e-17
    assert merge({1: 0.1, 2: 0.2, 3: 0.3}.items()) == 0.1 + (0.2 + 0.3)
    assert merge([]) is None


@pytest.mark.parametrize("positions", [[1, 1], [2, 1]])
def test_a_leaf_that_comes_twice_or_late_is_refused(positions):
    with pytest.raises(ValueError, match="once, in order"):
        merge((at, 1.0) for at in positions)


def test_a_fold_without_rows_is_empty_and_batches_join():
    few = ROWS.take(ROWS.fold != 2)
    assert by_fold(LAYOUT, accumulate(LAYOUT, few))[2].n == 0
    halves = join([ROWS.take(slice(0, 1000)), ROWS.take(slice(1000, None))])
    assert digest(LAYOUT, accumulate(LAYOUT, halves)) == digest(LAYOUT, accumulate(LAYOUT, ROWS))
    carrier = join([replace_carrier(["B6"]), replace_carrier(["AA", None])]).covariates["carrier"]
    assert carrier.labels == ("AA", "B6")  # type: ignore[union-attr]
    assert carrier.codes.tolist() == [1, 0, -1]  # type: ignore[union-attr]


def replace_carrier(labels: list[str | None]) -> Rows:
    few = ROWS.take(slice(0, len(labels)))
    return replace(few, covariates={**few.covariates, "carrier": coded(labels)})


def spoiled(what: str) -> Rows:
    values = {"x1": ROWS.covariates["x1"], **ROWS.treatments, **ROWS.outcomes, "w": ROWS.weight}
    name, value = {
        "missing_treatment": ("t1", np.nan),
        "missing_outcome": ("y0", np.nan),
        "infinite_outcome": ("y1", np.inf),
        "infinite_covariate": ("x1", -np.inf),
        "negative": ("w", -1.0),
        "no_weight": ("w", np.nan),
    }[what]
    changed = np.array(values[name])
    changed[77] = value
    return Rows(
        {**ROWS.covariates, **({"x1": changed} if name == "x1" else {})},
        {**ROWS.treatments, **({name: changed} if name in ROWS.treatments else {})},
        {**ROWS.outcomes, **({name: changed} if name in ROWS.outcomes else {})},
        changed if name == "w" else ROWS.weight,
        ROWS.fold,
        ROWS.unit,
        ROWS.place,
    )


@pytest.mark.parametrize(
    ("what", "code", "column"),
    [
        ("missing_treatment", "missing_treatment", "t1"),
        ("missing_outcome", "missing_outcome", "y0"),
        ("infinite_outcome", "infinite_value", "y1"),
        ("infinite_covariate", "infinite_value", "x1.s0"),
        ("negative", "bad_weight", "weight"),
        ("no_weight", "bad_weight", "weight"),
    ],
)
def test_bad_values_are_named(what, code, column):
    with pytest.raises(ContractError) as caught:
        accumulate(LAYOUT, spoiled(what))
    assert caught.value.code == code
    assert caught.value.where.column == column
    assert caught.value.remedy


def test_a_fold_outside_the_layout_is_named():
    rows = replace(ROWS, fold=ROWS.fold + np.int16(1))
    with pytest.raises(ContractError) as caught:
        accumulate(LAYOUT, rows)
    assert caught.value.code == "bad_fold"
