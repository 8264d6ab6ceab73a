"""The one tree of errors: what was wrong, where, what to do, and whether a retry can help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


def first_line(error: BaseException, most: int = 300) -> str:
    """What an error of another package says, on one line; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a fault; every field is optional.

    Attributes
    ----------
    file, line
        The study file and the 1-based line in it.
    table, version
        A Delta table and its version.
    column
        A column of that table or of the unit table.
    window
        The label of a window, such as ``2013-03``.
    """

    file: str | None = None
    line: int | None = None
    table: str | None = None
    version: int | None = None
    column: str | None = None
    window: str | None = None

    def __str__(self) -> str:
        place = []
        if self.file:
            place.append(f"{self.file}:{self.line}" if self.line else self.file)
        if self.table:
            place.append(f"{self.table}@{self.version}" if self.version is not None else self.table)
        if self.column:
            place.append(f"column {self.column}")
        if self.window:
            place.append(f"window {self.window}")
        return ", ".join(place)


class CausewayError(Exception):
    """Base of every error that Causeway raises on purpose.

    Parameters
    ----------
    message
        What was wrong: found against expected.
    code
        A short stable name (``duplicate_ids``), for scripts and for the record.
    where
        The place.
    remedy
        What the user can do about it.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        where: Where | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.where = where or Where()
        self.remedy = remedy

    def __str__(self) -> str:
        place = str(self.where)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}\n  -> {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling (Ray and Prefect carry errors between processes)."""
        return _rebuild, (type(self), self.__dict__.copy())

    def as_dict(self) -> dict[str, Any]:
        """The ``error`` object of the JSON contract."""
        return {
            "code": self.code,
            "type": type(self).__name__,
            "message": self.message,
            "where": asdict(self.where),
            "remedy": self.remedy,
            "retryable": self.retryable,
        }


def _rebuild(cls: type[CausewayError], state: dict[str, Any]) -> CausewayError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class UsageError(CausewayError):
    """The command line was wrong."""

    exit_code = 2
    default_code = "usage"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a study file: where, what was found, what is allowed, the nearest valid name."""

    where: Where
    found: str
    allowed: str
    nearest: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{self.where}: {self.found}; allowed: {self.allowed}{hint}"


class StudyError(CausewayError):
    """A study file is invalid. Carries every fault of the file, not only the first."""

    exit_code = 3
    default_code = "invalid_study"

    def __init__(self, faults: Sequence[Fault], *, remedy: str = "") -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        super().__init__(
            f"{len(self.faults)} {noun} in the study\n{lines}",
            where=self.faults[0].where if self.faults else None,
            remedy=remedy or "mend the lines above; `causeway validate STUDY` checks again",
        )

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}"

    def as_dict(self) -> dict[str, Any]:
        """The ``error`` object, with every fault."""
        return super().as_dict() | {"faults": [asdict(fault) for fault in self.faults]}


class ContractError(CausewayError):
    """The data break a promise of the study: duplicate ids, a leak, an empty window, ..."""

    exit_code = 4
    default_code = "contract"


class SourceError(CausewayError):
    """A source table or a pinned version is gone or cannot be read."""

    exit_code = 5
    default_code = "source_gone"


class PlatformError(CausewayError):
    """The environment lacks something: Java, a JAR, disk, memory, a port, a GPU."""

    exit_code = 6
    default_code = "environment"


class NotEstimableError(CausewayError):
    """No effect of the study could be estimated."""

    exit_code = 7
    default_code = "not_estimable"


class GateError(CausewayError):
    """A gate failed under ``--strict``; the record is complete all the same."""

    exit_code = 8
    default_code = "gate_failed"


class BackfillError(CausewayError):
    """Some windows of a backfill failed; the others are recorded."""

    exit_code = 9
    default_code = "backfill_partly_failed"


class NotReproducibleError(CausewayError):
    """A recomputation under the same key gave another digest."""

    exit_code = 1
    default_code = "not_reproducible"


class RetryableError(CausewayError):
    """Something outside failed that may work next time: a lock, a server, a lost worker."""

    exit_code = 75
    retryable = True
    default_code = "try_again"


class NotMatureError(RetryableError):
    """The window's outcomes are not all known yet."""

    retryable = False
    default_code = "not_mature"
