from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.agent.nodes import Node, eventually, running
from tests.monitoring.scrapes import Scrape, scrape
from tests.monitoring.traffic import Backend, Client, policies


@dataclass(frozen=True, slots=True)
class Watched:
    """A node in userspace mode whose agent runs, and its only client."""

    node: Node
    metrics: str
    client: Client

    def scrape(self) -> Scrape:
        return scrape(self.metrics)

    def settled(self) -> Scrape:
        """A scrape in which every request of the client's is counted."""
        wanted = self.client.counts.total()
        eventually(lambda: self.scrape().sum("hubble_http_requests_total") >= wanted)
        return self.scrape()


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(Backend())
        node = Node(tmp_path_factory.mktemp("node"), backend, workers=2, access_log="off")
        (node.policies / "users.yaml").write_text(policies(backend.port))
        stack.enter_context(running(node))
        yield Watched(node, node.status()["metrics"], Client(node, backend))
