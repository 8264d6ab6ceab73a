"""A YAML file as plain data, with the line of every key and item."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from estimators.errors import Fault, Where

Place = tuple[str | int, ...]
"""Where a value stands: ``("effects", 0, "method")``."""

MAX_BYTES = 262_144
_MAX_NODES = 20_000
_MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null")}
_EXPONENT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but dates stay text and ``1e-3`` is a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to declare it
        first: [
            (_TAG + "float", _EXPONENT),
            *(pair for pair in pairs if pair[0] != _TAG + "timestamp"),
        ]
        if first in "-+.0123456789"
        else list(pairs)
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content and where each part of it stands.

    Attributes
    ----------
    file
        The file's name as faults show it.
    data
        Mappings, lists, text, numbers, booleans and None.
    lines
        1-based line of the key or list item at each place.
    blocks
        For texts written as a literal block (``|``): the line of the text's first line.
    """

    file: str
    data: dict[str, Any]
    lines: Mapping[Place, int]
    blocks: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """Line of `place`, or of the nearest part of the file that holds it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def fault(
        self,
        place: Place,
        found: str,
        allowed: str,
        hint: str | None = None,
        *,
        line: int | None = None,
    ) -> Fault:
        """A fault at `place`."""
        where = Where(file=self.file, line=self.line(place) if line is None else line)
        return Fault(where, found, allowed, hint)

    def at(self, *place: str | int) -> Any:
        """The value at `place`; None where there is none."""
        value: Any = self.data
        for step in place:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def text(self, *place: str | int) -> str | None:
        """The text at `place`; None where there is none or it is something else."""
        value = self.at(*place)
        return value if isinstance(value, str) else None

    def mapping(self, *place: str | int) -> dict[str, Any]:
        """The mapping at `place`; empty where there is none or it is something else."""
        value = self.at(*place)
        return value if isinstance(value, dict) else {}

    def items(self, *place: str | int) -> list[Any]:
        """The list at `place`; empty where there is none or it is something else."""
        value = self.at(*place)
        return value if isinstance(value, list) else []

    def texts(self, *place: str | int) -> list[tuple[str, Place]]:
        """The texts of the list at `place`, each with its own place."""
        return [
            (item, (*place, index))
            for index, item in enumerate(self.items(*place))
            if isinstance(item, str)
        ]


def describe(value: Any) -> str:
    """A value in a fault's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")  # noqa: PLR2004
    return str(value)


def read_document(text: str, file: str) -> tuple[Document, list[Fault]]:
    """Read YAML text. What cannot be read is a fault; the rest is in the document.

    Parameters
    ----------
    text
        The YAML text.
    file
        The file's name for faults.
    """
    if len(text.encode()) > MAX_BYTES:
        return _nothing(file, 1, f"a file of {len(text.encode())} bytes", f"{MAX_BYTES} at most")
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _nothing(file, mark.line + 1 if mark else 1, f"{error.problem}", "valid YAML")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _nothing(file, line, "a control character", "printable text")
    except RecursionError:
        return _nothing(file, 1, "lists or mappings nested too deeply", f"{_MAX_DEPTH} levels")
    finally:
        if loader is not None:
            loader.dispose()
    keys = "a mapping that begins `study: name`"
    if root is None:
        return _nothing(file, 1, "an empty file", keys)
    reader = _Reader(_Loader(""), file)
    data = reader.value(root, ())
    if not isinstance(data, dict):
        if not reader.faults:
            reader.fault(root, describe(data), keys)
        data = {}
    return Document(file, data, reader.lines, reader.blocks), reader.faults


def _nothing(file: str, line: int, found: str, allowed: str) -> tuple[Document, list[Fault]]:
    fault = Fault(Where(file=file, line=line), found, allowed)
    return Document(file, {}, {}, {}), [fault]


@dataclass(slots=True)
class _Reader:
    """Turns nodes into data; counts nodes, so that aliases cannot multiply without end."""

    loader: _Loader
    file: str
    lines: dict[Place, int] = field(default_factory=dict)
    blocks: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    nodes: int = 0
    full: bool = False

    def fault(self, node: yaml.Node, found: str, allowed: str, hint: str | None = None) -> None:
        where = Where(file=self.file, line=node.start_mark.line + 1)
        self.faults.append(Fault(where, found, allowed, hint))

    def value(self, node: yaml.Node, place: Place) -> Any:
        self.nodes += 1
        self.lines.setdefault(place, node.start_mark.line + 1)
        if self.full:
            return None
        if self.nodes > _MAX_NODES or len(place) > _MAX_DEPTH:
            self.full = True
            limits = f"{_MAX_NODES} values, {_MAX_DEPTH} levels"
            self.fault(node, "too many or too deep values (aliases counted)", limits)
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, place)
        tag = node.tag.replace(_TAG, "!!")
        self.fault(node, f"the tag {tag}", "plain YAML without tags")
        return None

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        if node.style == "|":
            self.blocks[place] = node.start_mark.line + 2
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.fault(node, repr(node.value), f"a value of the tag {node.tag.replace(_TAG, '!!')}")
            return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            name = self._key(key)
            if name in data:
                first = self.lines[(*place, name)]
                self.fault(key, f"the key `{name}` a second time", f"once (see line {first})")
                continue
            self.lines[(*place, name)] = key.start_mark.line + 1
            data[name] = self.value(value, (*place, name))
        for name, item in self._merged(merged, place):
            data.setdefault(name, item)
        return data

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, "a list or a mapping as a key", "text")
            return "?"
        if node.tag != _TAG + "str":
            self.fault(node, f"the key {node.value}", f'text; quote it: "{node.value}"')
        return str(node.value)

    def _merged(self, nodes: list[yaml.Node], place: Place) -> Iterator[tuple[str, Any]]:
        for node in nodes:
            kept = dict(self.lines)
            given = self.value(node, place)
            self.lines.update(kept)  # the keys written at this place keep their own lines
            if isinstance(given, dict):
                yield from given.items()
            else:
                self.fault(node, "`<<` of something else", "`<<: *name` of a mapping")
