"""Every flow record of the node: where producers bring them, and where readers get them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from l7proxy.agent.httpd import Answer, Stream, error_answer
from l7proxy.limits import Limits
from l7proxy.observe.accesslog import LineEncoder
from l7proxy.observe.flows import RequestRecord
from l7proxy.observe.hub import KEPT_HEADER, FlowHub, Follower
from l7proxy.observe.recorder import RecorderSettings, open_log

LINES = "application/x-ndjson"

_FLAGS = {"0": False, "1": True}


class Flows:
    """The hub, and the access log of what is recorded in this process.

    Workers write their own records to the access log and send the lines here. A producer inside
    the agent calls ``record``, on any one thread.
    """

    def __init__(self, settings: RecorderSettings, limits: Limits) -> None:
        """``settings`` are those of every worker. Raises OSError if the log cannot be opened."""
        self.hub = FlowHub(limits.flows_kept, settings.node, limits.flow_queue_bytes)
        self._followers = limits.flow_followers
        self._encoder = LineEncoder(settings.node, settings.redaction)
        self._log = open_log(settings)

    @property
    def lost(self) -> int:
        """Records that followers missed, and lines the access log of this process had no room
        for."""
        return self.hub.lost + (0 if self._log is None else self._log.lost)

    def record(self, record: RequestRecord) -> None:
        """A request that was decided outside the workers. Never blocks; one thread at a time."""
        self.publish(self._encoder.encode(record))

    def publish(self, line: bytes) -> None:
        """The same for a record that is encoded already, by ``LineEncoder``; any thread."""
        if self._log is not None:
            self._log.write(line)
        self.hub.publish(line)

    def wait_for_room(self, seconds: float) -> bool:
        """Whether the access log has room for a few megabytes, now or within so long."""
        return self._log is None or self._log.wait_for_room(seconds)

    def received(self, lines: list[bytes]) -> None:
        """Lines that a worker sent; it has written them to the access log itself."""
        self.hub.publish_all(lines)

    def close(self) -> None:
        """Write what is left for the access log."""
        if self._log is not None:
            self._log.close()

    def answer(self, query: Mapping[str, str]) -> Answer | Stream:
        """``last=N`` or ``first=N`` of the lines that are kept, all of them without either.

        With ``follow=1`` the answer goes on with new lines as they come.
        """
        try:
            last, first = _count(query, "last"), _count(query, "first")
            follow = _flag(query, "follow")
            if first is not None and (follow or last is not None):
                raise ValueError("first cannot be combined with last or follow")
            if unknown := query.keys() - {"last", "first", "follow"}:
                raise ValueError(f"{min(unknown)} is nothing that /flows takes")
        except ValueError as error:
            return error_answer(400, str(error))
        if not follow:
            lines = self.hub.last(last) if first is None else self.hub.first(first)
            return Answer(200, b"".join(lines), LINES)
        if self.hub.followers >= self._followers:
            return error_answer(
                503, f"{self._followers} followers are served already (limits.flow_followers)"
            )
        return self._follow(last)

    def _follow(self, last: int | None) -> Stream:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()
        kept, follower = self.hub.subscribe(lambda: loop.call_soon_threadsafe(arrived.set), last)
        return Stream(
            _lines(kept, follower, arrived),
            LINES,
            {KEPT_HEADER: str(len(kept))},
            closed=follower.close,
        )


async def _lines(
    kept: list[bytes], follower: Follower, arrived: asyncio.Event
) -> AsyncIterator[bytes]:
    yield b"".join(kept)
    while True:
        await arrived.wait()
        arrived.clear()
        yield b"".join(follower.take())


def _count(query: Mapping[str, str], name: str) -> int | None:
    """Raises ValueError."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"{name} must be a number of lines")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Raises ValueError."""
    text = query.get(name, "0")
    if text not in _FLAGS:
        raise ValueError(f"{name} must be 0 or 1")
    return _FLAGS[text]
