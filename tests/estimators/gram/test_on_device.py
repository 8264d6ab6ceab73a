"""Products on a device of JAX: its CPU is everywhere, and gives the host's sums in float64."""

from __future__ import annotations

from dataclasses import replace
from math import fsum

import numpy as np
import pytest

from estimators.errors import ContractError
from estimators.gram.accumulate import accumulate, square
from estimators.gram.engine import estimate, split
from estimators.gram.products import HOST, Products
from tests.estimators.gram.world import Size, make_layout, make_rows

jax = pytest.importorskip("jax")
on_device = pytest.importorskip("estimators.gram.on_device")
BLOCK = 512


@pytest.fixture(scope="module")
def device() -> Products:
    place: Products = on_device.OnDevice(jax.devices("cpu")[0], BLOCK)
    return place


@pytest.mark.parametrize("weighted", [True, False])
def test_partial_grams_are_those_of_the_host(device: Products, weighted: bool) -> None:
    rows = make_rows(weighted=weighted)
    layout = make_layout(rows, block=BLOCK)
    ours, theirs = (accumulate(layout, rows, products=place) for place in (device, HOST))
    assert [each.leaf for each in ours] == [each.leaf for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        gram = square(layout, other.sums)
        scale = np.sqrt(np.outer(np.diagonal(gram), np.diagonal(gram)))
        assert (np.abs(square(layout, one.sums) - gram) <= 1e-12 * scale).all()
        assert other.sums.n_missing.sum() > 0
        np.testing.assert_allclose(one.sums.missing, other.sums.missing, rtol=1e-12, atol=1e-11)
        for name in ("n_missing", "strays"):
            assert np.array_equal(getattr(one.sums, name), getattr(other.sums, name))


def test_all_effects_are_those_of_the_host(device: Products) -> None:
    rows = make_rows(Size(n=4000))
    layout = make_layout(rows, block=BLOCK)
    ours, theirs = (
        estimate(layout, *split(layout, rows), clustered=True, products=place)
        for place in (device, HOST)
    )
    assert not np.array_equal(ours.hc0, theirs.hc0), "the device was not asked"
    np.testing.assert_allclose(ours.effects.theta, theirs.effects.theta, rtol=1e-9)
    np.testing.assert_allclose(ours.hc0, theirs.hc0, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(ours.clustered, theirs.clustered, rtol=1e-9, atol=1e-14)


def test_sums_are_kept_in_float64(device: Products) -> None:
    """Near 1, steps of 1e-11 are lost in float32: the block's values and its sums alike."""
    x = 1.0 + 1e-11 * np.arange(400.0)
    totals = device.totals(1)
    for _ in range(50):
        totals.add(x[None, :])
    exact = 50 * fsum(each * each for each in x)
    assert abs(totals.result()[0, 0, 0] / exact - 1.0) < 1e-14
    single = x.astype(np.float32)
    assert abs(50 * fsum(each * each for each in single.tolist()) / exact - 1.0) > 1e-9
    assert jax.numpy.zeros(1).dtype == np.float32, "other users of JAX keep their setting"


@pytest.mark.parametrize("rows", [BLOCK, 100])
def test_a_block_may_be_overwritten_at_once(device: Products, rows: int) -> None:
    """JAX reads NumPy's memory in place where it can: the sum must be there before."""
    draw = np.random.default_rng(5)
    totals, buffer, expected = device.totals(40), np.empty((40, rows)), np.zeros((40, 40))
    for _ in range(20):
        buffer[:] = draw.normal(size=buffer.shape)
        expected += buffer @ buffer.T
        totals.add(buffer)
        buffer[:] = np.nan
    np.testing.assert_allclose(totals.result()[0], expected, rtol=1e-12, atol=1e-10)


def test_few_lengths_are_compiled_for(device: on_device.OnDevice) -> None:
    found = [device.filled_up(np.ones((2, n))) for n in range(1, BLOCK + 1)]
    assert len({each.shape[1] for each in found}) == on_device.PARTS
    assert [each.sum() for each in found] == [2.0 * n for n in range(1, BLOCK + 1)]


def test_sums_without_a_block_are_zero(device: Products) -> None:
    totals = device.totals(3, count=2)
    totals.add(np.ones((3, 4)), 1)
    assert totals.result().tolist() == [np.zeros((3, 3)).tolist(), np.full((3, 3), 4.0).tolist()]


def test_an_infinite_value_is_found(device: Products) -> None:
    rows = make_rows(Size(n=600))
    layout = make_layout(rows, block=BLOCK)
    rows.treatments["t1"][17] = np.inf
    with pytest.raises(ContractError) as caught:
        accumulate(layout, replace(rows), products=device)
    assert caught.value.code == "infinite_value"
