"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo import stages
from l7proxy.demo.stages import Stage
from tests.support.pods import node
from tests.support.stage import quiet

__all__ = ["node", "stage"]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The demo's four pods, two nginx and a running agent, for one test module."""
    with stages.pods(quiet) as made:
        yield made
