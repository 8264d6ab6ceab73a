"""Where a study's products are made, by its profile's device. Nothing falls back."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib.util import find_spec

from estimators.cuda import cuda_devices, no_gpu
from estimators.errors import PlatformError
from estimators.gram.products import HOST, Products

Opener = Callable[[], Products]
"""Called by a task where it runs: a device cannot travel between processes."""


def opener(device: str) -> Opener:
    """How a task opens the place of its products on a kind of device."""
    return {"cpu": on_host, "cuda": on_cuda}[device]


def on_host() -> Products:
    """Products by this process's BLAS."""
    return HOST


def on_cuda() -> Products:
    """Products on the first CUDA device that JAX shows; Ray shows a task the one it was given.

    Raises
    ------
    PlatformError
        ``no_gpu``: there is none; ``no_jax``: JAX is not there, or does not open it.
    """
    from conf.profile import settle

    require_cuda()
    # Tasks share a device: without this the first would take three quarters of its memory.
    settle({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"})
    return on_platform("cuda")


def on_platform(platform: str) -> Products:
    """Products on the first device of a platform of JAX (``cuda``, ``cpu``).

    Raises
    ------
    PlatformError
        ``no_jax``: JAX is not installed, or has no such device.
    """
    try:
        import jax

        from estimators.gram.on_device import OnDevice

        return OnDevice(jax.devices(platform)[0])
    except ImportError as error:
        raise _no_jax("JAX is not installed") from error
    except RuntimeError as error:
        raise _no_jax(f"JAX opens no {platform} device: {error}".splitlines()[0]) from error


def require_cuda() -> None:
    """Check that there is a CUDA device, and a JAX that was built for it, opening neither.

    (Where JAX opens a device it holds memory there; this process may only start tasks.)

    Raises
    ------
    PlatformError
        ``no_gpu``: there is no device; ``no_jax``: JAX, or its CUDA plugin, is not installed.
    """
    if not cuda_devices():
        raise no_gpu()
    require_jax()


def require_jax() -> None:
    """Check that JAX and its CUDA plugin are installed.

    Raises
    ------
    PlatformError
        ``no_jax``: one of them is not.
    """
    if find_spec("jax") is None:
        raise _no_jax("JAX is not installed")
    plugins = find_spec("jax_plugins")
    places = list(plugins.submodule_search_locations or ()) if plugins else []
    if not any(each.name.startswith("xla_cuda") for each in pkgutil.iter_modules(places)):
        raise _no_jax("JAX is installed without its CUDA plugin")


def _no_jax(what: str) -> PlatformError:
    return PlatformError(
        f"the Gram engine runs on a GPU by JAX: {what}",
        code="no_jax",
        remedy="pip install 'causeway[gpu]' 'jax[cuda12]' (or cuda13, as the driver is), or set "
        "device: cpu",
    )
