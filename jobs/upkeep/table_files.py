"""The files of a Delta table on a local disk: which versions need which, and which are missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from deltalake import DeltaTable

_LOG = "_delta_log"


def local(path: str) -> bool:
    """Whether a table lies on a disk of this machine."""
    return urlparse(path).scheme in ("", "file")


def on_disk(path: str) -> set[str]:
    """Data files in a table's folder, by their path in it; needed or not."""
    root = Path(path)
    return {
        str(file.relative_to(root))
        for file in root.rglob("*.parquet")
        if _LOG not in file.relative_to(root).parts
    }


def active(table: DeltaTable) -> set[str]:
    """Data files of the version at which a table is loaded, by their path in its folder."""
    root = Path(unquote(urlparse(table.table_uri).path) or table.table_uri)
    found = set()
    for uri in table.file_uris():
        file = Path(unquote(urlparse(uri).path) if "://" in uri else uri)
        found.add(str(file.relative_to(root)) if file.is_absolute() else str(file))
    return found


def missing(table: DeltaTable, path: str) -> set[str]:
    """Files of the loaded version that are no longer on the disk."""
    return {each for each in active(table) if not Path(path, each).exists()}


def commits(path: str) -> Iterator[tuple[int, Path, list[dict[str, Any]]]]:
    """The commits that the log still has: version, file and actions, in order."""
    for file in sorted(Path(path, _LOG).glob("*.json")):
        if file.stem.isdecimal():
            lines = file.read_text(encoding="utf-8").splitlines()
            yield int(file.stem), file, [json.loads(line) for line in lines if line.strip()]


def versions_with(path: str, files: Iterable[str]) -> list[int]:
    """Versions whose rows lie in any of these files, as far as the log reaches back."""
    wanted, held, found = set(files), set[str](), []
    for version, _, actions in commits(path):
        for action in actions:
            if "add" in action:
                held.add(unquote(action["add"]["path"]))
            elif "remove" in action:
                held.discard(unquote(action["remove"]["path"]))
        if held & wanted:
            found.append(version)
    return found


def unsupported(table: DeltaTable) -> str:
    """Why delta-rs must not touch a table's files; empty where it may."""
    protocol = table.protocol()
    features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
    settings: Mapping[str, str | None] = table.metadata().configuration or {}
    if "deletionVectors" in features or settings.get("delta.enableDeletionVectors") == "true":
        return "it has deletion vectors"
    if "columnMapping" in features or settings.get("delta.columnMapping.mode", "none") != "none":
        return "it maps columns"
    return ""
