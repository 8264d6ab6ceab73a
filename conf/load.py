"""Loading a study: the file is judged whole, and every fault is listed at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from conf.document import MAX_BYTES, read_document
from conf.names import listed, nearest
from conf.rules import RULES
from conf.rules.reading import read_parts
from conf.shape import build
from conf.study import Study
from estimators.errors import Fault, StudyError, UsageError, Where

_PACKAGED = Path(__file__).parent / "studies"


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A valid study, where it lies and its text as read."""

    study: Study
    path: Path
    text: str


def load_study(name_or_path: str) -> LoadedStudy:
    """Load and validate a study by name or path.

    Raises
    ------
    StudyError
        The file is invalid; carries all faults with their lines.
    UsageError
        There is no such study.
    """
    path = find_study(name_or_path)
    text = _read(path)
    return LoadedStudy(parse_study(text, path), path, text)


def find_study(name_or_path: str) -> Path:
    """The file of a study: a path, or a name in ``./conf/studies`` or the package's.

    Raises
    ------
    UsageError
        There is no such file.
    """
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(os.path.expanduser(name_or_path))  # as it is where there is no such user
        if os.path.isfile(path):  # no error for a name that is too long
            return path
        raise UsageError(
            f"no study file {name_or_path}",
            code="no_study",
            where=Where(file=name_or_path),
            remedy="give the path of a YAML file, or a study's name",
        )
    folders = (Path("conf/studies"), _PACKAGED)
    for folder in folders:
        path = folder / f"{name_or_path}.yaml"
        if os.path.isfile(path):
            return path
    known = sorted({each.stem for folder in folders for each in folder.glob("*.yaml")})
    close = nearest(name_or_path, known)
    hint = f"; did you mean {close!r}?" if close else ""
    raise UsageError(
        f"no study named {name_or_path!r}{hint}",
        code="no_study",
        remedy=f"choose one of {listed(known)}, or give the path of a YAML file",
    )


def parse_study(text: str, path: Path) -> Study:
    """Validate a study's text; `path` names the file in faults.

    Raises
    ------
    StudyError
        The text is invalid; carries all faults with their lines.
    """
    document, faults = read_document(text, _shown(path))
    if not document.data:
        raise StudyError(faults or [_empty(path)])
    study, shape = build(document)
    parts = read_parts(document)
    faults += [*shape, *(fault for rule in RULES for fault in rule(parts))]
    if study is None and not faults:  # a shape that no rule has words for
        faults = [document.fault((), "a file that is no study", "see conf/schema")]
    if faults or study is None:
        unique = dict.fromkeys(faults)
        raise StudyError(sorted(unique, key=lambda fault: fault.where.line or 0))
    return study


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the study cannot be read: {error.strerror}",
            code="no_study",
            where=Where(file=_shown(path)),
            remedy="check the file and its permissions",
        ) from error
    if len(content) > MAX_BYTES:
        found = f"a file of more than {MAX_BYTES} bytes"
        raise StudyError([Fault(Where(file=_shown(path)), found, f"{MAX_BYTES} bytes at most")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"a byte that is not UTF-8 (0x{content[error.start]:02x})"
        fault = Fault(Where(file=_shown(path), line=line), found, "text in UTF-8")
        raise StudyError([fault]) from error


def _empty(path: Path) -> Fault:
    return Fault(Where(file=_shown(path), line=1), "an empty mapping", "the sections of a study")


def _shown(path: Path) -> str:
    """The path as users know it: from the working directory where it lies below."""
    try:
        return str(Path(os.path.realpath(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
