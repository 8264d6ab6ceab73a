"""The Gram engine's products on a GPU, beside two CPU cores: to be run where a GPU is.

``python -m tests.bench.gram_device --rows 1000000 10000000`` writes ``gram_device.csv``: both
passes over all effects with each place of products, seconds of the products alone (with and without
the way to the device), and their share of the device's float64 peak. The peak is that of one large
product, measured, or the maker's (``--peak``, Tflop/s). ``--platform cpu`` tries it on JAX's CPU.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from estimators.gram.blas import one_thread
from estimators.gram.engine import Estimates, estimate
from estimators.gram.layout import Layout
from estimators.gram.on_device import OnDevice
from estimators.gram.pinning import smallest
from estimators.gram.products import HOST, Products
from jobs.gram.products import on_cuda, on_platform
from tests.bench.gram_world import Table, Timing, bench_layout, bucket_rows, reader, timed

ROWS_A_BUCKET = 60_000
LARGE = 8192
"""Side of the product that measures the peak."""


def whole(n: int, workers: int, products: Products) -> tuple[Timing, Estimates]:
    """Both passes and all effects; rows are drawn anew for each pass, as if they were read."""
    depth = max(0, int(np.log2(max(n // ROWS_A_BUCKET, 1))))
    buckets, read = reader(n, depth)
    layout = bench_layout(smallest([read(0)]), depth, 2)
    with timed() as timing, ThreadPoolExecutor(workers) as pool:
        found = estimate(layout, buckets, read, pool.map, products=products)
    return timing, found


def drawing(n: int, workers: int) -> Timing:
    """What drawing the rows costs in `whole`: twice all of them."""
    buckets, read = reader(n, max(0, int(np.log2(max(n // ROWS_A_BUCKET, 1)))))
    with timed() as timing, ThreadPoolExecutor(workers) as pool:
        for _ in range(2):
            list(pool.map(lambda bucket: read(bucket).n, buckets))
    return timing


def products_alone(layout: Layout, products: Products, blocks: int) -> Timing:
    """Sums of so many whole blocks from the host's memory."""
    block = np.random.default_rng(0).standard_normal((layout.q, layout.block))
    products.totals(layout.q).add(block)  # compiled
    with one_thread(), timed() as timing:
        totals = products.totals(layout.q)
        for _ in range(blocks):
            totals.add(block)
        totals.result()
    return timing


def rate(work: Callable[[], jax.Array], flop: float, repeat: int = 20) -> float:
    """Tflop/s of work on the device."""
    work().block_until_ready()
    with timed() as timing:
        for _ in range(repeat):
            found = work()
        found.block_until_ready()
    return repeat * flop / timing.wall / 1e12


def peak(device: jax.Device, side: int) -> float:
    """Float64 Tflop/s of one large product."""
    with jax.enable_x64(True):
        x = jax.device_put(np.random.default_rng(0).standard_normal((side, side)), device)
        multiply = jax.jit(jnp.matmul)
        return rate(lambda: multiply(x, x), 2.0 * side**3, 5)


def resident(layout: Layout, device: jax.Device) -> float:
    """Float64 Tflop/s of a block's product that lies on the device already: 2 q^2 n operations."""
    with jax.enable_x64(True):
        block = np.random.default_rng(0).standard_normal((layout.q, layout.block))
        there = jax.device_put(block, device)
        multiply = jax.jit(lambda x: jnp.matmul(x, x.T))
        return rate(lambda: multiply(there), 2.0 * layout.q**2 * layout.block)


def engine(table: Table, n: int, options: argparse.Namespace, device: Products) -> None:
    """The engine on both places; what drawing the rows costs is taken off."""
    drawn = drawing(n, options.workers)
    cpu, theirs = whole(n, options.workers, HOST)
    on_cpu = cpu.wall - drawn.wall
    table.add("engine_cpu_wall", n, on_cpu, "s", _note(options.workers))
    se = np.sqrt(np.diagonal(theirs.hc0))
    for workers in options.device_workers:
        gpu, ours = whole(n, workers, device)
        on_device = gpu.wall - drawing(n, workers).wall
        table.add("engine_device_wall", n, on_device, "s", _note(workers))
        table.add("speedup_of_device", n, on_cpu / on_device, "x", _note(workers))
        apart = np.abs(ours.effects.theta - theirs.effects.theta) / se
        table.add("largest_difference_over_se", n, float(apart.max()), "se", "device and CPU")


def _note(workers: int) -> str:
    return f"{workers} threads, without drawing the rows"


def kernels(table: Table, options: argparse.Namespace, device: OnDevice) -> None:
    """Products alone, and their share of the peak."""
    layout = bench_layout(smallest([bucket_rows(20_000, 0, 0)]), 0, 2)
    top = options.peak or peak(device.device, options.side)
    table.add("float64_peak", 0, top, "Tflop/s", "given" if options.peak else "one large product")
    there = resident(layout, device.device)
    note = f"q = {layout.q}, blocks of {layout.block}"
    table.add("product_on_the_device", layout.block, there, "Tflop/s", note)
    table.add("product_on_the_device_share_of_peak", layout.block, there / top, "share", note)
    n = options.blocks * layout.block
    for name, products in (("cpu_one_thread", HOST), ("device_with_the_way", device)):
        timing = products_alone(layout, products, options.blocks)
        table.add(f"products_{name}_per_million", n, timing.wall * 1e6 / n, "s", note)
        if products is device:
            share = 2e-12 * layout.q**2 * n / timing.wall / top
            table.add("products_with_the_way_share_of_peak", n, share, "share", note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device-workers", type=int, nargs="*", default=[2, os.cpu_count() or 2])
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--side", type=int, default=LARGE)
    parser.add_argument("--peak", type=float, default=0.0)
    parser.add_argument("--platform", default="cuda")
    parser.add_argument("--out", default="gram_device.csv")
    options = parser.parse_args()
    device = on_cuda() if options.platform == "cuda" else on_platform(options.platform)
    assert isinstance(device, OnDevice)
    table = Table()
    kernels(table, options, device)
    for n in options.rows:
        engine(table, n, options, device)
    rows = " ".join(str(n) for n in options.rows)
    threads = " ".join(str(each) for each in options.device_workers)
    command = f"python -m tests.bench.gram_device --rows {rows} --device-workers {threads}"
    table.write(options.out, f"{command}; {device.device.device_kind}")


if __name__ == "__main__":
    main()
