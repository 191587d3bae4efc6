"""Users of the demo, for locust: they read, log in, and now and then try what they may not.

``make locust`` starts the demo and lets them loose on it; alone, it is
``locust -f loadtest/locustfile.py --host http://127.0.0.1:8000`` against a listener with the
demo's policy. A refusal that the policy asks for is a success, and any other answer a failure.
"""

from argparse import ArgumentParser
from typing import Any

from locust import HttpUser, between, events, task
from requests.adapters import HTTPAdapter


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Where the policy knows clients by an address of this machine, they come from there."""
    parser.add_argument("--source", default="", help="address from which the users connect")


class From(HTTPAdapter):
    """Connections from an address; the empty one leaves the choice to the kernel."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """As requests does, but for the source."""
        if self._address:
            options["source_address"] = (self._address, 0)
        super().init_poolmanager(*arguments, **options)


class Frontend(HttpUser):
    """Reads mostly, logs in at times, and now and then tries what it may not."""

    wait_time = between(0.05, 0.3)

    def on_start(self) -> None:
        """One connection a user, and a log-in before anything else."""
        self.client.mount("http://", From(self.environment.parsed_options.source))
        self.login()

    @task(6)
    def read(self) -> None:
        self._ask("read", "GET", "/users/7", 200, "users")

    @task(6)
    def list_users(self) -> None:
        self._ask("list", "GET", "/users", 200, "users")

    @task(2)
    def login(self) -> None:
        self._ask("log in", "POST", "/login", 200, "auth", b"user=alice")

    @task(1)
    def trespass(self) -> None:
        self._ask("refused: another path", "GET", "/admin", 403)

    @task(1)
    def remove(self) -> None:
        self._ask("refused: another method", "DELETE", "/users/7", 403)

    @task(1)
    def read_root(self) -> None:
        self._ask("refused: blocked", "GET", "/users/root", 403)

    def _ask(
        self,
        name: str,
        method: str,
        target: str,
        status: int,
        server: str | None = None,
        body: bytes = b"",
    ) -> None:
        """``server`` is who must have answered; None where the request must reach nobody."""
        with self.client.request(
            method, target, name=name, data=body, catch_response=True
        ) as response:
            by = response.headers.get("X-Server") if response.headers else None
            if (response.status_code, by) == (status, server):
                response.success()
            else:
                wanted = f"{status} by {server or 'no server'}"
                response.failure(f"{wanted} expected, got {response.status_code} by {by}")
