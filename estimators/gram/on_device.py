"""Products of blocks on a device of JAX, in float64; a finished leaf's sums come back.

Who wants no GPU never imports this module: JAX is an optional package.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from estimators.gram.blas import Doubles
from estimators.gram.layout import BLOCK
from estimators.gram.products import Totals

PARTS = 8
"""Blocks are filled up with zeros to eighths of the longest: each length is compiled for."""


class OnDevice:
    """Products on one device.

    Parameters
    ----------
    device
        Any device of JAX that has float64.
    block
        Rows of the longest block.
    """

    def __init__(self, device: jax.Device, block: int = BLOCK) -> None:
        self.device = device
        self.step = max(1, block // PARTS)

    def totals(self, size: int, count: int = 1) -> Totals:
        """Begin `count` sums of ``(size, size)`` products at zero."""
        return _DeviceTotals(self, size, count)

    def filled_up(self, block: Doubles) -> Doubles:
        """The block with columns of zeros, which add nothing, up to a length that is compiled."""
        size, n = block.shape
        length = -(-n // self.step) * self.step
        if length == n:
            return block
        longer = np.zeros((size, length))
        longer[:, :n] = block
        return longer


class _DeviceTotals:
    def __init__(self, place: OnDevice, size: int, count: int) -> None:
        self.place, self.size, self.count = place, size, count
        self.sums: dict[int, jax.Array] = {}

    def add(self, block: Doubles, at: int = 0) -> None:
        with jax.enable_x64(True):  # of this thread and this block: others keep their float32
            if at not in self.sums:
                shape = (self.size, self.size)
                self.sums[at] = jnp.zeros(shape, jnp.float64, device=self.place.device)
            there = jax.device_put(self.place.filled_up(block), self.place.device)
            # JAX may read the caller's memory until the sum is there (jax#37830): wait for it
            self.sums[at] = _added(self.sums[at], there).block_until_ready()

    def result(self) -> Doubles:
        found = np.zeros((self.count, self.size, self.size))
        for at, total in self.sums.items():
            found[at] = np.asarray(total)
        return found


# Which kernel is the fastest is measured anew in every process: the bytes would follow.
@partial(
    jax.jit,
    donate_argnums=0,
    compiler_options={"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0},
)
def _added(total: jax.Array, block: jax.Array) -> jax.Array:
    highest = jax.lax.Precision.HIGHEST
    return total + jnp.matmul(block, block.T, precision=highest, preferred_element_type=jnp.float64)
