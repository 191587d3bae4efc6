from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.nodes import Backend, Node, running


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as found:
        yield found


@pytest.fixture
def prepare(tmp_path: Path, backend: Backend) -> Iterator[Callable[..., Node]]:
    """Makes nodes whose agents do not run yet; those that a test starts end with it."""
    made: list[Node] = []

    def make(**settings: Any) -> Node:
        folder = tmp_path / f"node-{len(made)}"
        folder.mkdir()
        made.append(Node(folder, backend, **settings))
        return made[-1]

    yield make
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.wait()


@pytest.fixture
def node(prepare: Callable[..., Node]) -> Iterator[Node]:
    """A node with one worker, whose agent runs."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(running(prepare()))
