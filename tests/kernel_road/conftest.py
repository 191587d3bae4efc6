"""Fixtures of the kernel road's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from l7proxy.demo.pods import Node
from tests.kernel_road.town import Town


@pytest.fixture(scope="package")
def town(compiled: Path) -> Iterator[Town]:
    """One for all modules: to load the programs takes seconds. Whoever changes its rules puts them
    back, and whoever does more to it has one of his own."""
    with Node("test", compiled) as node:
        made = Town(node)
        yield made
        made.covered.end()
