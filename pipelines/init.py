"""`causeway init`: a first study from a table, written to a new file."""

from __future__ import annotations

from pathlib import Path

import yaml

from conf.load import parse_study
from conf.plan import effect_specs
from conf.profile import load_profile
from estimators.errors import UsageError, Where
from jobs.draft import draft_study
from pipelines.output import Answer

SCHEMA = "causeway.init/1"


def init(
    table: str,
    treatment: str,
    outcome: str,
    *,
    name: str | None = None,
    output: Path | None = None,
    **named: str | None,
) -> Answer:
    """Write a study; an existing file is left alone.

    Parameters
    ----------
    table
        Path of a Delta table; ``{lake}`` is the profile's lake.
    output
        The file; None is the study's name in the working directory.
    **named
        Columns by part: ``unit_id``, ``time`` and ``cluster``, guessed or left out where None.

    Raises
    ------
    UsageError
        The file exists (``file_exists``) or cannot be written, or the table has no such column.
    """
    path = table.replace("{lake}", load_profile().lake_root)
    text = draft_study(path, treatment, outcome, name, **named)
    file = output or Path(f"{yaml.safe_load(text)['study']}.yaml")
    study = parse_study(text, file)
    _write(file, text)
    effects = [spec.effect_id for spec in effect_specs(study)]
    found = {
        "schema": SCHEMA,
        "study": study.study,
        "file": str(file),
        "effects": effects,
        "error": None,
    }
    lines = [
        f"{file}: {study.study}, {len(effects)} effects",
        "Read its comments, then: " + f"causeway validate {file}",
    ]
    return Answer(found, "\n".join([*lines, ""]))


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(
            "the file exists and is not overwritten",
            code="file_exists",
            where=Where(file=str(file)),
            remedy="choose another --output or --name, or move the file away",
        ) from error
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError) as error:
        raise UsageError(
            f"the file cannot be written: {error.strerror}",
            code="bad_output",
            where=Where(file=str(file)),
            remedy="choose an --output in a folder that exists and that you may write to",
        ) from error
