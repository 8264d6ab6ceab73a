"""A small home that holds a recorded window, ways to spoil it, and what must not change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from conf.profile import Profile
from estimators.errors import UsageError
from tests.jobs import prebuilt
from tests.pipelines.command import Causeway, Ran

RECORDED, WINDOW = prebuilt.MONTHS[:2]
RUN = ("run", "{study}", "--window", WINDOW)
BACKFILL = ("backfill", "{study}", "--from", WINDOW, "--to", WINDOW)
PLAN = ("plan", "{study}", "--window", WINDOW)
PREVIEW = ("preview", "{study}", "--window", WINDOW)
EFFECTS = ("effects", "{study}")
REVIEW = ("review", "{study}")
VALIDATE = ("validate", "{study}")
Command = tuple[str, ...]


@dataclass(slots=True)
class World:
    """A lake of two months, the first of them recorded; what a row of the table spoils.

    Attributes
    ----------
    settings
        Environment variables of the command.
    words
        What is filled into the command beside ``{study}`` and ``{home}``.
    undo
        What must be called when the row is done.
    """

    folder: Path
    here: Causeway
    monkeypatch: Any
    settings: dict[str, str] = field(default_factory=dict)
    words: dict[str, object] = field(default_factory=dict)
    undo: list[Callable[[], object]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The home."""
        return self.folder / "home"

    @property
    def study(self) -> Path:
        """The study's file."""
        return self.folder / "orders.yaml"

    @property
    def place(self) -> Profile:
        """The local profile on the home."""
        return prebuilt.place(self.home)

    @property
    def table(self) -> Path:
        """The study's one source."""
        return self.home / "lake" / "orders"

    @property
    def log(self) -> list[Path]:
        """The source's commits, oldest first."""
        return sorted((self.table / "_delta_log").glob("*.json"))

    def edit(self, *changes: tuple[str, str]) -> None:
        """Replace parts of the study; each must be there."""
        text = self.study.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        self.study.write_text(text)

    def profile(self, text: str) -> None:
        """Run on this profile."""
        file = self.folder / "mine.yaml"
        file.write_text(text)
        self.settings["CAUSEWAY_PROFILE"] = str(file)

    def rewrite(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """Commit the source anew, changed, as its next version."""
        rows = DeltaTable(str(self.table)).to_pyarrow_table().sort_by("order_id")
        write_deltalake(str(self.table), change(rows), mode="overwrite", schema_mode="overwrite")

    def column(self, name: str, values: Callable[[pa.Table], Any]) -> None:
        """Commit the source anew with another column, one value or a list of them."""

        def change(rows: pa.Table) -> pa.Table:
            found = values(rows)
            column = found if isinstance(found, pa.Array) else pa.array(found)
            return rows.set_column(rows.schema.get_field_index(name), name, column)

        self.rewrite(change)

    def prebuild(self) -> None:
        """Commit the window's features, so that no engine need build them."""
        prebuilt.prebuild(self.study, (WINDOW,), self.place)

    def write(self, name: str, rows: pa.Table) -> None:
        """Commit another table of the lake."""
        write_deltalake(str(self.home / "lake" / name), rows)


@dataclass(frozen=True, slots=True)
class Bad:
    """A row of the table.

    Attributes
    ----------
    code
        The error's code, or ``check:NAME.METRIC`` where a run is recorded with a check that fails.
    names
        What the error must name: in its message or among the parts of its place.
    commands
        Each must end in the same error. ``{study}`` and ``{home}`` are filled in.
    needs
        ``spark`` where rows are built.
    """

    name: str
    kind: str
    code: str
    names: tuple[str, ...]
    spoil: Callable[[World], object]
    commands: tuple[Command, ...]
    needs: str | None = None
    slow: bool = False


TABLE: list[Bad] = []
Spoil = Callable[[World], object]


def bad(
    kind: str, name: str, code: str, *names: str, by: tuple[Command, ...], **given: Any
) -> Callable[[Spoil], Spoil]:
    """Enter a row: how its world is spoilt is the function below."""

    def enter(spoil: Spoil) -> Spoil:
        TABLE.append(Bad(name, kind, code, names, spoil, by, **given))
        return spoil

    return enter


WITHOUT_JSON = ("ui",)


def error_of(ran: Ran) -> Mapping[str, Any]:
    """The error of a command; a backfill of one window has that window's."""
    if not ran.out:  # of a command that has no JSON: what it said
        code, _, text = ran.err.removeprefix("error (").partition("): ")
        message, _, remedy = text.partition("\n  -> ")
        if ran.code == UsageError.exit_code:  # the parser of the command line itself
            return {"code": "usage", "message": ran.err, "remedy": "--help", "where": {}}
        return {"code": code, "message": message, "remedy": remedy, "where": {}}
    found = ran.object
    for window in found.get("windows", []):
        if window["error"]:
            return dict(window["error"])
    assert found["error"], found
    return dict(found["error"])


_PLANS = {"backfills", "failures"}
"""What a backfill means to compute and what failed: `--retry-failed` reads them."""


def fingerprint(home: Path) -> dict[str, str]:
    """Digest of every file of the record, the features and MLflow, its database among them."""
    found = {}
    for part in ("record", "features", "maps", "mlflow", "alerts"):
        for path in sorted((home / part).rglob("*")):
            name = path.relative_to(home)
            if path.is_file() and not _PLANS & set(name.parts):
                found[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
