"""What goes to stdout: one JSON object, or text for a reader. Everything else goes to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NoReturn, TextIO

from conf.profile import debug
from estimators.errors import CausewayError
from pipelines.faults import translate

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out.

    Attributes
    ----------
    object
        The JSON object, complete with its ``schema``.
    text
        The same for a reader.
    error
        What failed, if anything; its class gives the exit code.
    """

    object: Mapping[str, Any]
    text: str = ""
    error: CausewayError | None = None


def answer(schema: str, as_json: bool, body: Callable[[], Answer]) -> NoReturn:
    """Run a command's body, print its answer and leave with its exit code.

    Engines' chatter never reaches stdout: while the body runs, file descriptor 1 is stderr.

    Raises
    ------
    SystemExit
        Always, with the exit code of the contract.
    """
    with _results() as results:
        found, code = _outcome(schema, body)
        if found.error is not None:
            sys.stderr.write(error_block(found.error))
        with contextlib.suppress(BrokenPipeError):
            results.write(as_line(found.object) if as_json else found.text)
            results.flush()
    raise SystemExit(code)


def _outcome(schema: str, body: Callable[[], Answer]) -> tuple[Answer, int]:
    try:
        found = body()
    except KeyboardInterrupt:
        stop = interrupted()
        return Answer({"schema": schema, "error": stop.as_dict()}, error=stop), INTERRUPTED
    except Exception as raised:
        error = translate(raised)
        if debug():
            traceback.print_exc()
        return Answer({"schema": schema, "error": error.as_dict()}, error=error), error.exit_code
    if found.error is None:
        return found, 0
    return found, INTERRUPTED if found.error.code == "interrupted" else found.error.exit_code


def interrupted() -> CausewayError:
    """The error object of an interrupted command."""
    return CausewayError(
        "interrupted",
        code="interrupted",
        remedy="nothing is lost: run the same command again, it goes on after the last commit",
    )


@contextlib.contextmanager
def _results() -> Iterator[TextIO]:
    """The real stdout; meanwhile whatever Python, the JVM or Ray prints there goes to stderr."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed: nobody listens
        kept = os.open(os.devnull, os.O_WRONLY)
    captured = sys.stdout.fileno() != 1 if _has_descriptor(sys.stdout) else True
    stream = sys.stdout if captured else os.fdopen(os.dup(kept), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield stream
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        if not captured:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _has_descriptor(stream: TextIO) -> bool:
    try:
        stream.fileno()
    except (OSError, AttributeError):
        return False
    return True


def as_line(found: Mapping[str, Any]) -> str:
    """One JSON object on one line: NaN and infinity are null, times end in Z."""
    return json.dumps(plain(found), ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Turn a value into what JSON has: times to text, NaN and infinity to None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return as_utc(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def as_utc(moment: datetime) -> str:
    """``2013-03-01T05:00:00Z``, with microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def error_block(error: CausewayError) -> str:
    """An error for a reader: what, where, what to do. No traceback."""
    return f"error ({error.code}): {error}\n"
