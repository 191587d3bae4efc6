"""Fixtures of the kernel road's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo.pods import Node
from tests.kernel_road.town import Town
from tests.support.pods import node

__all__ = ["node", "town"]


@pytest.fixture(scope="module")
def town(node: Node) -> Iterator[Town]:
    made = Town(node)
    yield made
    made.covered.end()
