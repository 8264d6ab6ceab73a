"""The documents say what the committed results say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_documents_are_filled_from_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "infra" / "readme.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
