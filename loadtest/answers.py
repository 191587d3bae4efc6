"""What a subject must answer before it is measured: a fast wrong answer is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass

from l7proxy.demo.places import Place


class AnswerError(Exception):
    """A subject answered something else than it must; the text says what."""


@dataclass(frozen=True, slots=True)
class Check:
    """A request, and the status that it must get."""

    place: Place
    host: str
    port: int
    method: str
    target: str
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def __call__(self) -> None:
        """Ask. Raises AnswerError."""
        outcome = self.place.http(
            self.method,
            self.host,
            self.port,
            self.target,
            headers=self.headers,
            body=self.body,
        )
        if outcome.status != self.status:
            raise AnswerError(
                f"{self.method} {self.target} to {self.host}:{self.port} from {self.place.name}"
                f" must be answered {self.status}, and it was: {outcome}"
            )
