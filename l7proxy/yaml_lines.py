"""YAML (and so JSON) loading that remembers on which line everything stands.

The reader builds plain values from parser events itself. That keeps the line of every key and
item, makes a repeated key an error, runs no constructor that a document could name, and bounds
nesting and the number of values, so that neither deep brackets nor aliases that multiply can
exhaust memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"

# YAML 1.2 core schema, as kubectl's reader understands it, minus forms nobody means in a policy.
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_WORDS: dict[str, bool | None] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
for _true, _false in (("true", "false"), ("yes", "no"), ("on", "off")):
    _WORDS |= dict.fromkeys((_true, _true.capitalize(), _true.upper()), True)
    _WORDS |= dict.fromkeys((_false, _false.capitalize(), _false.upper()), False)


class YamlError(Exception):
    """A document that cannot be read: ``line`` (from 1) and what is wrong there."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(slots=True)
class Document:
    """One document: its plain value, its first line, and the line of every path inside it."""

    value: Any
    line: int
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of ``path``, or of its nearest enclosing part that has one."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return self.line


@dataclass(slots=True)
class _Node:
    """A value with its line; lists and maps hold nodes, maps also the line of each key."""

    line: int
    value: Any
    key_lines: dict[str, int] = field(default_factory=dict)


def load(text: bytes, *, max_depth: int, max_values: int) -> Iterator[Document]:
    """The documents of a file, empty ones left out.

    Raises YamlError where the text is not UTF-8 or not YAML, a key is repeated or not a string,
    a tag is not a plain type, or nesting or the number of values (aliases counted each time)
    passes its bound.
    """
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise YamlError(line, f"byte 0x{text[error.start]:02x} is not UTF-8") from None
    try:
        yield from _documents(_events(decoded), max_depth, max_values)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not YAML"
        # An error at the end of the text is marked behind its last line.
        line = min(mark.line + 1, len(decoded.splitlines()) or 1) if mark else 1
        raise YamlError(line, f"not valid YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = decoded.count("\n", 0, max(0, error.position)) + 1
        raise YamlError(line, f"not valid YAML: {error.reason}") from None
    except yaml.YAMLError as error:
        raise YamlError(1, f"not valid YAML: {error}") from None


def _events(text: str) -> Iterator[Any]:
    return iter(yaml.parse(text, Loader=_LOADER))


def _documents(events: Iterator[Any], max_depth: int, max_values: int) -> Iterator[Document]:
    budget = max_values
    for event in events:
        if not isinstance(event, DocumentStartEvent):
            continue
        root, line = _compose(events, max_depth, budget)
        if root is None or root.value is None:
            continue
        document = Document(None, line)
        builder = _Builder(document.lines, budget, max_depth)
        document.value = builder.build(root, ())
        budget = builder.left
        yield document


def _compose(events: Iterator[Any], max_depth: int, max_values: int) -> tuple[_Node | None, int]:
    """The node tree of one document, read up to its end event; aliases are shared nodes."""
    anchors: dict[str, _Node] = {}
    stack: list[tuple[_Node, list[_Node]]] = []
    root: _Node | None = None
    left = max_values
    for event in events:
        line = event.start_mark.line + 1
        node: _Node
        if isinstance(event, DocumentEndEvent):
            break
        if isinstance(event, SequenceEndEvent | MappingEndEvent):
            node, pending = stack.pop()
            node.value = pending if isinstance(event, SequenceEndEvent) else _map(node, pending)
            continue
        left -= 1
        if left < 0:
            raise YamlError(line, f"more than {max_values} values")
        if isinstance(event, AliasEvent):
            if event.anchor not in anchors:
                raise YamlError(line, f"the alias *{event.anchor} has no anchor before it")
            node = anchors[event.anchor]
        else:
            node = _Node(line, None)
            if event.anchor:
                anchors[event.anchor] = node
        if stack:
            stack[-1][1].append(node)
        else:
            root = node
        if isinstance(event, ScalarEvent):
            node.value = _scalar(event, line)
        elif isinstance(event, SequenceStartEvent | MappingStartEvent):
            if event.tag not in (None, "!", _PREFIX + "seq", _PREFIX + "map"):
                raise YamlError(line, f"the tag {event.tag} is not supported")
            if len(stack) >= max_depth:
                raise YamlError(line, f"nested deeper than {max_depth} levels")
            stack.append((node, []))
    return root, root.line if root else 1


def _map(node: _Node, pending: list[_Node]) -> dict[str, _Node]:
    result: dict[str, _Node] = {}
    for key, value in zip(pending[::2], pending[1::2], strict=True):
        name = key.value
        if not isinstance(name, str):
            raise YamlError(key.line, "a key is not a string: quote it")
        if name == "<<":
            raise YamlError(key.line, "merge keys (<<) are not supported: write the fields out")
        if name in result:
            first = node.key_lines[name]
            raise YamlError(key.line, f"the key {name!r} is repeated (first on line {first})")
        result[name] = value
        node.key_lines[name] = key.line
    return result


def _scalar(event: Any, line: int) -> str | int | float | bool | None:
    text: str = event.value
    tag = event.tag
    if tag in ("!", _PREFIX + "str") or (tag is None and not event.implicit[0]):
        return text
    if tag is not None:
        raise YamlError(line, f"the tag {tag} is not supported")
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 40 else text
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Builder:
    """Turns nodes into plain values, noting lines; every alias counts as often as it is used."""

    def __init__(self, lines: dict[Path, int], budget: int, max_depth: int) -> None:
        self._lines = lines
        self._budget = budget
        self._max_depth = max_depth
        self.left = budget

    def build(self, node: _Node, path: Path) -> Any:
        self.left -= 1
        if self.left < 0:
            raise YamlError(node.line, f"more than {self._budget} values, aliases counted")
        if len(path) > self._max_depth:
            raise YamlError(node.line, f"nested deeper than {self._max_depth} levels")
        self._lines.setdefault(path, node.line)
        if isinstance(node.value, list):
            return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
        if isinstance(node.value, dict):
            result = {}
            for key, item in node.value.items():
                self._lines[(*path, key)] = node.key_lines[key]
                result[key] = self.build(item, (*path, key))
            return result
        return node.value
