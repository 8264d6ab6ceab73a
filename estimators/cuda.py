"""Whether the NVIDIA driver shows a device, asked without a CUDA toolkit and without a context."""

from __future__ import annotations

import ctypes

from estimators.errors import PlatformError


def cuda_devices() -> int:
    """Count the devices that the driver shows to this process."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def no_gpu() -> PlatformError:
    """The error of a device that was asked for and is not there."""
    return PlatformError(
        "device: cuda was asked for and no CUDA device is there",
        code="no_gpu",
        remedy="run on a machine with a GPU and its driver, or set device: cpu",
    )
