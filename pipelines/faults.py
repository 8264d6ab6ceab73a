"""What the machine did wrong, as an error with a remedy: disk, rights, memory, missing engines."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from estimators.errors import CausewayError, PlatformError, RetryableError, Where

_Look = Callable[[BaseException, Path | None], CausewayError | None]
_FULL = ("no space left on device", "disk quota exceeded", "database or disk is full")
_CLOSED = ("permission denied", "read-only file system", "readonly database")
_ROOM_FOR_A_DATABASE = 10_000_000
_EXTRAS = {"pyspark": "spark", "delta": "spark", "ray": "ray", "prefect": "prefect"}
_EXTRAS |= {"mlflow": "mlflow", "matplotlib": "mlflow"}


def translate(error: BaseException, home: Path | None = None) -> CausewayError:
    """Turn any exception into one of the tree; a CausewayError stays, unless the disk was full.

    Parameters
    ----------
    home
        Where the run writes, for the message.
    """
    if isinstance(error, PlatformError):
        return error
    chain = list(_chain(error))
    full = _first(chain, _disk_full, home)
    if full:
        return full
    if isinstance(error, CausewayError):
        return error
    for look in (_closed, _misplaced, _memory, _engine, _prefect):
        if found := _first(chain, look, home):
            return found
    return CausewayError(
        f"{type(error).__name__}: {_line(error)}",
        remedy="this is a fault of Causeway: run again with CAUSEWAY_DEBUG=1 and report what it"
        " prints",
    )


def _first(chain: list[BaseException], look: _Look, home: Path | None) -> CausewayError | None:
    return next((found for each in chain if (found := look(each, home))), None)


def _disk_full(error: BaseException, home: Path | None) -> PlatformError | None:
    if not _is(error, (errno.ENOSPC, errno.EDQUOT), _FULL):
        return None
    remedy = "free some disk, then run again: what was committed is kept, and a half-written"
    return _platform("disk_full", "the disk is full", home, f"{remedy} file is in no table")


def _closed(error: BaseException, home: Path | None) -> PlatformError | None:
    if not _is(error, (errno.EACCES, errno.EPERM, errno.EROFS), _CLOSED):
        return None
    remedy = "set CAUSEWAY_HOME to a folder that you may write to"
    return _platform("not_writable", f"not writable: {_line(error)}", home, remedy)


def _misplaced(error: BaseException, home: Path | None) -> PlatformError | None:
    odd = isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENAMETOOLONG)
    if not odd and not isinstance(error, NotADirectoryError | FileExistsError):
        return None
    remedy = "set CAUSEWAY_HOME to a folder, not to a file or a place below one"
    return _platform("bad_home", f"not a folder: {_line(error)}", home, remedy)


def _memory(error: BaseException, home: Path | None) -> PlatformError | None:
    if not isinstance(error, MemoryError):
        return None
    return _platform("memory", "out of memory", home, "give it more, or estimate fewer effects")


def _engine(error: BaseException, home: Path | None) -> PlatformError | None:
    if not isinstance(error, ModuleNotFoundError):
        return None
    extra = _EXTRAS.get((error.name or "").split(".")[0])
    if extra is None:
        return None
    remedy = f"pip install 'causeway[{extra}]', or `make setup` in the clone"
    return _platform("no_engine", f"{error.name} is not installed", home, remedy)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _is(error: BaseException, numbers: tuple[int, ...], phrases: tuple[str, ...]) -> bool:
    """Whether the error has one of the numbers, or says so (engines wrap them in text)."""
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    text = str(error).lower()
    return any(phrase in text for phrase in phrases)


def _prefect(error: BaseException, home: Path | None) -> CausewayError | None:
    """A Prefect server that is named and does not answer, or a temporary one that did not start."""
    text = str(error)
    if "ephemeral Prefect API server" in text:
        if home is not None and shutil.disk_usage(home).free < _ROOM_FOR_A_DATABASE:
            return _platform("disk_full", "the disk is full", home, "free some, then run again")
        remedy = "run again; on a busy machine keep a server (`causeway ui --prefect`) and name it"
        return _platform("prefect_start", "no temporary Prefect server", home, remedy)
    if "Failed to reach API at" in text:
        return RetryableError(
            f"the Prefect server does not answer: {_line(error)}",
            code="prefect_unreachable",
            remedy="start it, or unset PREFECT_API_URL to run without one",
        )
    return None


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _platform(code: str, message: str, home: Path | None, remedy: str) -> PlatformError:
    where = Where(file=str(home)) if home else None
    return PlatformError(message, code=code, where=where, remedy=remedy)
