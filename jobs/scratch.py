"""Folders under the home for one piece of work, and those that a killed process left there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

Kind = Literal["bins", "gram", "register", "reproduce"]


@contextmanager
def scratch(home: Path, kind: Kind) -> Iterator[Path]:
    """A folder of its own in ``<home>/tmp``, deleted afterwards."""
    below = home / "tmp"
    below.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{kind}-", dir=below, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def scratch_folders(home: Path) -> list[Path]:
    """All that are there: at work, or left by a process that was killed."""
    found = [each for kind in get_args(Kind) for each in (home / "tmp").glob(f"{kind}-*")]
    return sorted(each for each in found if each.is_dir())
