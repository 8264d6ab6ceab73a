"""The command line: a thin root. The commands lie in `pipelines.commands`, by audience."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from conf.profile import debug
from pipelines.commands import estimating, record, studies, upkeep
from pipelines.output import INTERRUPTED, as_line, interrupted

_EXAMPLES = """\b
Examples:
  causeway demo                                       the whole way, on real flights
  causeway init --table lake/orders --treatment coupon --outcome spend
  causeway validate orders.yaml                       all faults at once, in a second
  causeway preview orders.yaml                        rows, NULLs, arms, overlap
  causeway run orders.yaml --window 2026-03           one window, recorded
  causeway backfill orders.yaml --from 2026-01 --to 2026-06
  causeway effects orders.yaml                        what is known so far
  causeway doctor                                     what this machine lacks

\b
STUDY is a file, or a name in ./conf/studies or the package.
CAUSEWAY_HOME (default ./.causeway) holds the lake of the demo, the record and MLflow.

\b
Exit codes: 0 recorded · 1 internal · 2 usage · 3 invalid study · 4 data contract
  5 source gone · 6 environment · 7 no effect · 8 gate failed (--strict)
  9 backfill partly failed · 75 try again · 130 interrupted
"""


class _InOrder(click.Group):
    """Commands in the order in which one meets them, not by alphabet."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Names in the order of this file."""
        return list(self.commands)


@click.group(
    cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES
)
@click.version_option(package_name="causeway")
def root() -> None:
    """Causal effects from a Delta lake: pinned data, diagnostics, a record a reviewer can trust."""


for command in (
    estimating.demo,
    studies.init,
    studies.validate,
    studies.preview,
    studies.plan,
    estimating.run,
    estimating.backfill,
    record.effects,
    record.compare,
    record.review,
    upkeep.maintain,
    estimating.deploy,
    record.reproduce,
    upkeep.ui,
    upkeep.doctor,
):
    root.add_command(command)


def execute(arguments: Sequence[str]) -> int:
    """Run a command line in this process; returns its exit code."""
    try:
        root(list(arguments), standalone_mode=False, prog_name="causeway")
    except click.ClickException as error:
        error.show()
        if "--json" in arguments:
            sys.stdout.write(as_line(_usage(error, arguments)))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write(f"{interrupted()}\n")
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _usage(error: click.ClickException, arguments: Sequence[str]) -> dict[str, Any]:
    from estimators.errors import UsageError

    refused = UsageError(error.format_message(), remedy="causeway COMMAND --help shows how")
    command = next((each for each in arguments if each in root.commands), "cli")
    return {"schema": f"causeway.{command}/1", "error": refused.as_dict()}


def _terminate(*_: object) -> None:
    """End as Ctrl-C does, also where a shell started this with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def main() -> NoReturn:
    """Entry point of ``causeway``."""
    code = 1  # an error that nobody foresaw

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # whoever read it has left
                stream.flush()
        os._exit(code)

    # First in, last out: engines have stopped by then. Arrow's threads that still read ahead, and a
    # stage's thread after an interrupt, must not meet an interpreter that is taken down under them:
    # it ends in SIGABRT now and then (https://github.com/apache/arrow/issues/45017).
    atexit.register(leave)
    signal.signal(signal.SIGTERM, _terminate)
    code = execute(sys.argv[1:])
    if code == INTERRUPTED and not debug():
        # All is said; what engines complain of while they are torn down helps nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    raise SystemExit(code)
