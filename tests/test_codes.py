"""Every code of an error is met by some test, and every error says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from estimators import errors
from tests.syntax import parsed
from tests.test_security import ROOT, SOURCES

THIS = Path(__file__)
CLASSES = {
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, errors.CausewayError)
} - {"StudyError"}  # its faults say what is allowed


def raised(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CLASSES:
            yield node


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def codes(file: Path) -> Iterator[str]:
    """Codes written out in a module; those that are put together of parts are left out."""
    tree = parsed(file)
    for call in raised(tree):
        given = [option.value for option in call.keywords if option.arg == "code"]
        if not given and call.keywords:
            yield getattr(errors, call.func.id).default_code
        for value in given:
            if not isinstance(value, ast.JoinedStr):
                yield from (each.value for each in ast.walk(value) if is_text(each))


CODES = sorted({code for file in SOURCES for code in codes(file)})


@pytest.fixture(scope="module")
def tests() -> str:
    """The text of all tests and their tables, less this one."""
    folder = ROOT / "tests"
    files = [*folder.rglob("*.py"), *folder.rglob("*.yaml")]
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file != THIS)


@pytest.mark.parametrize("code", CODES)
def test_a_test_names_the_code(code: str, tests: str) -> None:
    assert re.search(rf"""["']{code}["']""", tests), f"no test names {code}"


def test_there_are_many() -> None:
    assert len(CODES) > 90


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_error_that_is_raised_has_a_remedy(file: Path) -> None:
    for call in raised(parsed(file)):
        given = {option.arg for option in call.keywords}
        assert given & {"remedy", None}, f"{file.name}:{call.lineno}: {ast.unparse(call)}"
