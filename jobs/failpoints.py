"""Points where a test may kill the process: what a crash leaves behind is tested, not argued.

Inert unless ``CAUSEWAY_FAILPOINT`` names the point. This module and `conf.profile` are the only
ones that read the environment.
"""

from __future__ import annotations

import os
import signal
from itertools import count

VARIABLE = "CAUSEWAY_FAILPOINT"
_TIMES = count(1)


def reach(name: str) -> None:
    """Kill this process with SIGKILL where ``CAUSEWAY_FAILPOINT`` equals `name`.

    ``name#2`` kills where the point is reached for the second time: in the second window of a
    backfill, or at the second effect.

    Parameters
    ----------
    name
        ``<stage>.<point>``, such as ``register.before_parent``.
    """
    point, _, nth = os.environ.get(VARIABLE, "").partition("#")
    if point == name and next(_TIMES) == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
