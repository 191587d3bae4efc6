"""What the metrics address answers, read with prometheus_client's own parsers."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.agent.nodes import PATIENCE

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
TEXT = "text/plain; version=0.0.4"

Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Scrape:
    content_type: str
    text: str
    families: tuple[Metric, ...]

    @property
    def samples(self) -> dict[Series, float]:
        """Every sample, by name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples that have at least these labels."""
        return sum(
            value
            for (found, having), value in self.samples.items()
            if found == name and labels.items() <= dict(having).items()
        )


def scrape(address: str, accept: str = TEXT) -> Scrape:
    """One scrape of ``address``, parsed as what it says that it is."""
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        kind = response.headers["Content-Type"]
        text = response.read().decode()
    parse = (
        openmetrics.text_string_to_metric_families
        if kind.startswith("application/openmetrics-text")
        else text_string_to_metric_families
    )
    return Scrape(kind, text, tuple(parse(text)))
