"""The smallest automaton of the same language: states that nothing tells apart become one."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[int]


def equivalent(rows: Sequence[Row], marks: Sequence[int]) -> list[int]:
    """For each state the number of its block: states are in one block if no input tells them
    apart, that is, leads to different marks.

    Starts with blocks of equal marks and splits them by where their states lead. When a block is
    split its largest part keeps the number, and only states that lead to a renumbered one are
    looked at again, so that each is looked at a logarithmic number of times.
    """
    numbers: dict[int, int] = {}
    block = [numbers.setdefault(mark, len(numbers)) for mark in marks]
    members: list[set[int]] = [set() for _ in numbers]
    for state, number in enumerate(block):
        members[number].add(state)
    before: list[list[int]] = [[] for _ in rows]
    for state, row in enumerate(rows):
        for target in set(row):
            before[target].append(state)
    # States to look at (again), by block.
    stale: dict[int, list[int]] = {at: list(states) for at, states in enumerate(members)}
    where = block.__getitem__
    while stale:
        number, states = stale.popitem()
        whole = members[number]
        if len(whole) == 1:
            continue
        parts: dict[tuple[int, ...], set[int]] = {}
        for state in states:
            parts.setdefault(tuple(map(where, rows[state])), set()).add(state)
        split = list(parts.values())
        untouched = whole.difference(*split)
        if untouched:
            split.append(untouched)
        kept = max(split, key=len)
        members[number] = kept
        for part in split:
            if part is kept:
                continue
            for state in part:
                block[state] = len(members)
            members.append(part)
        for part in split:
            if part is not kept:
                for state in part:
                    for each in before[state]:
                        stale.setdefault(block[each], []).append(each)
    return block
