"""Learners of installed packages, read from their source: nothing is imported.

`causeway validate` answers in about a second; importing scikit-learn alone would take longer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from estimators.catalog import CUSTOM, ENTRY_POINTS, SUFFIXES, Kind, class_names

_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Signature:
    """How a learner's class is made.

    Attributes
    ----------
    parameters
        Names of the constructor's.
    required
        Those without a default.
    free
        Takes any further parameter.
    """

    parameters: tuple[str, ...]
    required: tuple[str, ...]
    free: bool


def is_installed(package: str) -> bool:
    """Whether a top-level package is there."""
    return find_spec(package) is not None


def custom_names() -> tuple[str, ...]:
    """Learners that installed packages add, as a study names them."""
    return tuple(sorted(f"{CUSTOM}.{each.name}" for each in entry_points(group=ENTRY_POINTS)))


def signature(name: str, kind: Kind) -> Signature | None:
    """The class that serves a kind of target; None where there is none.

    A binary target takes probabilities, so its class must have `predict_proba`.
    """
    module, _, given = name.rpartition(".")
    for candidate in class_names(given, kind):
        lineage = list(_lineage(module, candidate))
        if kind in _kinds(lineage) and (kind != "binary" or _has(lineage, "predict_proba")):
            return _signature(lineage)
    return None


def learner_names(module: str) -> tuple[str, ...]:
    """Learners that a module offers, without the suffix where they have one."""
    found = set()
    for name in _names(module):
        if name.startswith("_"):
            continue
        stem = next((name.removesuffix(end) for end in SUFFIXES.values() if name.endswith(end)), "")
        if stem or _kinds(list(_lineage(module, name))):
            found.add(f"{module}.{stem or name}")
    return tuple(sorted(found))


def modules(package: str) -> tuple[str, ...]:
    """Public modules of a package, itself included."""
    file = _file(package)
    if file is None:
        return ()
    inside = [each for each in file.parent.iterdir() if not each.name.startswith(("_", "."))]
    names = [
        each.stem for each in inside if each.suffix == ".py" or (each / "__init__.py").is_file()
    ]
    return (package, *(f"{package}.{name}" for name in sorted(names)))


def _kinds(lineage: list[ast.ClassDef]) -> set[Kind]:
    """Kinds of target, from the class's name or else from its ancestors'."""
    for names in ([lineage[0].name], _ancestors(lineage)) if lineage else ():
        kinds: set[Kind] = {
            kind for kind, suffix in SUFFIXES.items() if any(suffix in name for name in names)
        }
        if kinds:
            return kinds
    return set()


def _has(lineage: list[ast.ClassDef], method: str) -> bool:
    return any(getattr(part, "name", None) == method for each in lineage for part in each.body)


def _ancestors(lineage: list[ast.ClassDef]) -> list[str]:
    return [base.id for each in lineage for base in each.bases if isinstance(base, ast.Name)]


def _signature(lineage: list[ast.ClassDef]) -> Signature:
    """Of the nearest constructor; one that hands on ``**kwargs`` has its parent's names too."""
    names: list[str] = []
    required: list[str] = []
    for node in lineage:
        made = next((f for f in node.body if getattr(f, "name", None) == "__init__"), None)
        if not isinstance(made, ast.FunctionDef):
            continue
        plain = [each.arg for each in made.args.args[1:]]
        names += [*plain, *(each.arg for each in made.args.kwonlyargs)]
        required += plain[: len(plain) - len(made.args.defaults)]
        required += [
            each.arg
            for each, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
            if default is None
        ]
        if made.args.kwarg is None:
            return Signature(tuple(dict.fromkeys(names)), tuple(required), free=False)
    return Signature(tuple(dict.fromkeys(names)), tuple(required), free=True)


def _lineage(module: str, name: str, depth: int = 0) -> Iterator[ast.ClassDef]:
    """A class and its ancestors, depth first, as far as they can be read."""
    entry = _names(module).get(name)
    if depth > _DEEPEST or entry is None:
        return
    if not isinstance(entry, ast.ClassDef):
        yield from _lineage(*entry, depth + 1)
        return
    yield entry
    for base in entry.bases:
        if isinstance(base, ast.Name):
            yield from _lineage(module, base.id, depth + 1)


@cache
def _names(module: str) -> dict[str, ast.ClassDef | tuple[str, str]]:
    """Classes of a module, and where it has its other names from."""
    file = _file(module)
    if file is None:
        return {}
    found: dict[str, ast.ClassDef | tuple[str, str]] = {}
    for node in _statements(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node, is_package=file.name == "__init__.py")
            for each in node.names:
                found.setdefault(each.asname or each.name, (origin, each.name))
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those in its ``try`` and ``if`` included."""
    for node in body:
        yield node
        if isinstance(node, ast.Try | ast.If):
            yield from _statements(node.body)


def _origin(module: str, node: ast.ImportFrom, *, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    kept = parents[: len(parents) - node.level + (1 if is_package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _file(module: str) -> Path | None:
    package, *inner = module.split(".")
    spec = find_spec(package) if package else None  # of a package at the top: imports nothing
    for root in (spec.submodule_search_locations or ()) if spec else ():
        at = Path(root, *inner)
        for file in (at / "__init__.py", at.with_name(f"{at.name}.py")):
            if file.is_file():
                return file
    return None
