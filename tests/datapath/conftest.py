"""Fixtures of the datapath's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo.pods import Node
from tests.datapath.covered import Covered
from tests.support.pods import node

__all__ = ["node"]


@pytest.fixture(scope="module")
def covered(node: Node) -> Iterator[Covered]:
    """The pods a and b, and no rule; modules that want others have a fixture of this name."""
    for name in ("a", "b"):
        node.add_pod(name)
    made = Covered(node)
    made.start()
    made.apply("")
    yield made
    made.end()
