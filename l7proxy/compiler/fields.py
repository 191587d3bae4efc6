"""One table for each field: method and path together, host, the value of a header.

A rule that does not look at a field is satisfied by whatever the field holds, also by what leads
a table to DEAD. Values are those of requests that ``l7proxy.http`` accepts: a method is a token,
a path holds no space, and bytes that no value can hold are in no table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from l7proxy.compiler import alphabets
from l7proxy.compiler.charsets import ASCII_TOP
from l7proxy.compiler.dfa import Dfa, build
from l7proxy.compiler.errors import DEFAULT_BOUNDS, Bounds
from l7proxy.compiler.forest import Forest
from l7proxy.compiler.nodes import Node, without_anchors
from l7proxy.compiler.syntax import parse

_SPACE = 0x20

Pair = tuple[str | None, str | None]
"""The patterns of a rule's method and path."""

Conditions = tuple[bytes | None, ...]
"""What a rule asks of one header: None its presence, else an exact value; empty: nothing."""


def method_and_path(pairs: Sequence[Pair], bounds: Bounds = DEFAULT_BOUNDS) -> Dfa:
    """The table over ``METHOD SP PATH`` for the (method, path) patterns of rules 0, 1, 2, ...

    First a table of the methods alone: its accepting states tell which rules a path can still
    satisfy, and behind the space of each begin the paths of just these.
    """
    everywhere, by_method = 0, dict[str | None, dict[str | None, int]]()
    for number, (method, path) in enumerate(pairs):
        if method is path is None:
            everywhere |= 1 << number
        else:
            paths = by_method.setdefault(method, {})
            paths[path] = paths.get(path, 0) | 1 << number
    methods = _method_table(tuple(by_method), bounds)
    forest = Forest(alphabets.PATH)
    first = [forest.root() for _ in range(methods.states)]
    behind: dict[int, int] = {}
    for state, root in enumerate(first):
        for mask, target in methods.steps(state):
            forest.step(root, mask, first[target])
        accepted = methods.accepted(state)
        if accepted:
            if accepted not in behind:
                chosen = [
                    paths for bit, paths in enumerate(by_method.values()) if accepted >> bit & 1
                ]
                behind[accepted] = _paths(forest, chosen)
            forest.kids[root][_SPACE] = behind[accepted]
    return build(forest, first[methods.start], bounds, everywhere)


def _method_table(methods: Sequence[str | None], bounds: Bounds) -> Dfa:
    forest = Forest(alphabets.METHOD)
    root = forest.root()
    for number, method in enumerate(methods):
        tree = tree_of("[^ ]+" if method is None else method)
        forest.add(root, tree, 1 << number)
    return build(forest, root, bounds)


def _paths(forest: Forest, chosen: Iterable[dict[str | None, int]]) -> int:
    """A new root of the forest, from which the paths of several methods are read."""
    bits: dict[str | None, int] = {}
    for paths in chosen:
        for path, marks in paths.items():
            bits[path] = bits.get(path, 0) | marks
    root = forest.root()
    for path, marks in bits.items():
        if path is None:
            forest.add_any(root, alphabets.PATH, marks)
        else:
            forest.add(root, tree_of(path), marks)
    return root


def host_table(hosts: Sequence[str | None], bounds: Bounds = DEFAULT_BOUNDS) -> Dfa:
    """The table over the host for the host patterns of rules 0, 1, 2, ...; any case is read."""
    forest = Forest(alphabets.HOST)
    root = forest.root()
    everywhere = 0
    bits: dict[str, int] = {}
    for number, host in enumerate(hosts):
        if host is None:
            everywhere |= 1 << number
        else:
            bits[host] = bits.get(host, 0) | 1 << number
    for host, marks in bits.items():
        forest.add(root, tree_of(host), marks)
    dfa = build(forest, root, bounds, everywhere)
    classes = bytearray(dfa.classes)
    classes[0x41:0x5B] = classes[0x61:0x7B]
    return replace(dfa, classes=bytes(classes))


def header_table(conditions: Sequence[Conditions], bounds: Bounds = DEFAULT_BOUNDS) -> Dfa:
    """The table over the value of one header, for the conditions of rules 0, 1, 2, ... on it."""
    forest = Forest(alphabets.HEADER)
    root = forest.root()
    everywhere = 0
    for number, asked in enumerate(conditions):
        exact = {value for value in asked if value is not None}
        if not exact:
            everywhere |= 1 << number
        elif len(exact) == 1:
            forest.add_bytes(root, exact.pop(), 1 << number)
    return build(forest, root, bounds, everywhere)


def tree_of(pattern: str) -> Node:
    """The tree of a pattern for values within ASCII, as those of method, path and host are."""
    return without_anchors(parse(pattern, ASCII_TOP))
