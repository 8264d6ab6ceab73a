"""Source files as trees."""

from __future__ import annotations

import ast
import gc
from pathlib import Path


def parsed(file: Path) -> ast.Module:
    """The file's syntax tree.

    CPython 3.11 ends a parse with "AST constructor recursion depth mismatch" where a collection
    runs Python code in the middle of it (python/cpython#106905), and engines leave tasks whose
    ends are logged when they are collected.
    """
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.enable()
