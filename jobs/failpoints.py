"""Points where a test may kill the process: what a crash leaves behind is tested, not argued.

Inert unless ``CAUSEWAY_FAILPOINT`` names the point. This module and `conf.profile` are the only
ones that read the environment.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "CAUSEWAY_FAILPOINT"


def reach(name: str) -> None:
    """Kill this process with SIGKILL where ``CAUSEWAY_FAILPOINT`` equals `name`.

    Parameters
    ----------
    name
        ``<stage>.<point>``, such as ``register.before_parent``.
    """
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
