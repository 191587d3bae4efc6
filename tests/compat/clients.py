"""The clients of the matrix, and which of the exchanges each can be asked to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.compat.exchanges import EXCHANGES, Exchange
from tests.compat.servers import VENV

DRIVERS = Path(__file__).with_name("drivers")


@dataclass(frozen=True, slots=True)
class Client:
    """``cannot`` names exchanges and +features that the client has no way to do."""

    name: str
    program: str
    driver: str
    cannot: frozenset[str] = frozenset()
    load: bool = False

    def exchanges(self) -> list[Exchange]:
        """What it is asked to do; clients for load only ask for something small."""
        if self.load:
            return [Exchange("load", "/small")]
        return [one for one in EXCHANGES if not self.cannot & {one.name, *_features(one)}]

    def argv(self, directory: Path, servers: dict[str, str]) -> list[str]:
        """The driver's command line for its plan, which is written to ``directory``."""
        exchanges = self.exchanges()
        if self.driver == "Client.java":
            plan = directory / f"{self.name}.tsv"
            plan.write_text("".join(_lines(exchanges, servers)))
            return ["java", str(DRIVERS / self.driver), str(plan)]
        plan = directory / f"{self.name}.json"
        document = {"servers": servers, "exchanges": [asdict(one) for one in exchanges]}
        plan.write_text(json.dumps(document))
        if self.driver.endswith(".mjs"):
            return ["node", str(DRIVERS / self.driver), self.name.removeprefix("node "), str(plan)]
        python = str(VENV / "bin" / "python")
        return [python, str(DRIVERS / self.driver), self.name, str(plan)]


def _features(exchange: Exchange) -> set[str]:
    """With a plus sign: there are exchanges of the same names."""
    features = ("chunked", "slow", "expect", "early", "websocket")
    return {f"+{name}" for name in features if getattr(exchange, name)}


def _lines(exchanges: Iterable[Exchange], servers: dict[str, str]) -> Iterable[str]:
    for server, base in servers.items():
        for one in exchanges:
            flags = ",".join(sorted(_features(one))) or "-"
            headers = "|".join(f"{name}: {value}" for name, value in one.headers.items())
            fields = (server, base, one.name, one.method, one.target, one.body, flags, one.times)
            yield "\t".join(map(str, (*fields, headers))) + "\n"


def available() -> tuple[list[Client], list[str]]:
    """The clients whose programs are here, and a line for each whose program is not."""
    found = [client for client in CLIENTS if shutil.which(client.program)]
    lost = [client for client in CLIENTS if client not in found]
    return found, [f"client {one.name}: the program {one.program} is missing" for one in lost]


_PYTHON = frozenset({"+expect", "+websocket"})
# wget waits for the content of a 304 until it times out.
_WGET = frozenset({"+websocket", "+expect", "+early", "conditional", "post-chunked", "post-slow"})
CLIENTS = (
    Client("curl", "curl", "tools.py", frozenset({"+websocket"})),
    Client(
        "curl-1.0", "curl", "tools.py", frozenset({"+websocket", "+chunked", "+slow", "+expect"})
    ),
    Client("requests", "python3", "python_clients.py", _PYTHON),
    Client("httpx", "python3", "python_clients.py", _PYTHON),
    Client("aiohttp", "python3", "python_clients.py"),
    Client("node fetch", "node", "node_client.mjs", frozenset({"+expect", "+websocket"})),
    Client("node http", "node", "node_client.mjs"),
    Client("java", "java", "Client.java"),
    Client("wget", "wget", "tools.py", _WGET),
    Client("wrk", "wrk", "tools.py", load=True),
    Client("ab", "ab", "tools.py", load=True),
    Client("h2load", "h2load", "tools.py", load=True),
)
