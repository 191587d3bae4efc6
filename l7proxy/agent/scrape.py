"""The metrics address: what Prometheus reads."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.exposition import choose_encoder

from l7proxy.agent.httpd import Answer, Question, error_answer
from l7proxy.agent.node import Node
from l7proxy.observe.metrics import registry


class Scrape:
    """``answer`` is the handler for the metrics address: GET /metrics."""

    def __init__(self, node: Node, tallies: Path) -> None:
        self._node = node
        self._tallies = tallies

    async def answer(self, question: Question) -> Answer:
        if question.path != "/metrics":
            return error_answer(404, "the metrics are at /metrics")
        if question.method != "GET":
            return error_answer(405, "/metrics is only for GET")
        facts = await self._node.facts()
        encode, content_type = choose_encoder(question.headers.get("accept", ""))
        return Answer(200, encode(registry(self._tallies, lambda: facts)), content_type)
