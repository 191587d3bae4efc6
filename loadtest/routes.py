"""From a client to a server, and what must be answered on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from l7proxy.demo.places import Place
from loadtest import kernel_rules
from loadtest.answers import Check
from loadtest.wrk import Load


@dataclass(frozen=True, slots=True)
class Route:
    """Where a client is, and where it finds the server."""

    client: Place
    host: str
    port: int

    def load(self, target: str = kernel_rules.TARGET, **options: Any) -> Load:
        url = f"http://{self.host}:{self.port}{target}"
        return Load(self.client, url, **options)

    def check(self, method: str, target: str, status: int, body: bytes = b"") -> Check:
        return Check(self.client, self.host, self.port, method, target, status, body)


def serving(route: Route) -> tuple[Check, ...]:
    """A subject that has the rule in force."""
    return (
        route.check("GET", kernel_rules.TARGET, 200),
        route.check(*kernel_rules.REFUSED, 403),
        route.check("GET", "/admin", 403),
    )


def unruled(route: Route) -> tuple[Check, ...]:
    """A subject that has no rule: it is the server alone that answers."""
    return (
        route.check("GET", kernel_rules.TARGET, 200),
        route.check(*kernel_rules.REFUSED, 200),
    )
