"""Ports on this machine: free, taken, or any."""

from __future__ import annotations

import socket

from estimators.errors import PlatformError

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def claim(port: int, option: str) -> int:
    """The port itself where it is free, any free one for 0.

    Raises
    ------
    PlatformError
        Another program listens there (``port_taken``).
    """
    if port == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])
    if not is_free(port):
        raise PlatformError(
            f"port {port} of {HOST} is taken by another program",
            code="port_taken",
            remedy=f"stop that program, or choose another port: {option} 0 takes any free one",
        )
    return port
