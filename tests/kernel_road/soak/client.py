"""One client of the soak: sends, reads, judges what came, and keeps the books of its kind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.kernel_road.soak.connection import Connection, Ended
from tests.kernel_road.soak.message import Answer, Request, is_refusal, is_right
from tests.kernel_road.soak.policy import Period

_AT_ONCE = 10_000
"""Bytes of a request that have left before its refusal can come."""


@dataclass
class Books:
    """What a kind of client met."""

    requests: int = 0
    refused: int = 0
    wrong: int = 0
    excused: int = 0
    """Connections that ended instead of an answer, where that may be, or by the client's doing."""
    lost: int = 0
    """Connections that ended instead of an answer."""


class Client:
    """``fault`` is told of everything that is wrong; ``name`` is the client's alone."""

    def __init__(
        self,
        way: str,
        name: str,
        address: tuple[str, int],
        period: Period,
        books: Books,
        fault: Callable[[str], None],
    ) -> None:
        self.near = way == "redirect"
        self.period = period
        self.books = books
        self._name = name
        self._address = address
        self._fault = fault
        self._number = 0

    async def connect(self, buffer: int = 0) -> Connection:
        """A connection to the server. Raises Ended."""
        try:
            return await Connection.open(*self._address, buffer)
        except OSError as error:
            raise Ended(f"no connection: {error!r}") from None

    def number(self) -> str:
        """For the next request: no other has it."""
        self._number += 1
        return f"{self._name}-{self._number}"

    async def exchange(
        self,
        connection: Connection,
        asked: Request,
        size: int = 0,
        *,
        keeps: bool | None = None,
        in_doubt: bool = False,
    ) -> bool:
        """Sends a request in one go, and is told the answer; see ``told``."""
        since = self.period.now()
        await connection.send(asked.data)
        return await self.told(connection, asked, since, size, keeps=keeps, in_doubt=in_doubt)

    async def told(
        self,
        connection: Connection,
        asked: Request,
        since: int,
        size: int = 0,
        *,
        keeps: bool | None = None,
        in_doubt: bool = False,
        slowly: bool = False,
    ) -> bool:
        """Reads and judges one answer. Whether the connection goes on.

        ``since`` is the period when the first byte was sent, ``size`` the answer's. ``keeps``:
        whether a refusal must leave the connection open; None: it may or may not. ``in_doubt``: a
        refusal may end the connection without an answer, as the request was not sent by itself in
        one go, or where answers end is not known.
        ``slowly``: it took so long to send that its rules may be gone.
        """
        self.books.requests += 1
        try:
            given = await connection.answer(asked.method)
        except Ended as error:
            verdicts = self.period.verdicts(asked.family, since)
            in_doubt |= len(asked.data) > _AT_ONCE
            may_end = False in verdicts or connection.refused
            if (in_doubt and may_end) or (slowly and self.period.is_stale(since)):
                self.books.excused += 1
            else:
                self.books.lost += 1
                self._tell(asked, since, str(error))
            return False
        except (ValueError, LookupError) as error:
            self._wrong(asked, since, repr(error))
            return False
        verdicts = self.period.verdicts(asked.family, since)
        if given.status == 200:
            right = True in verdicts and is_right(asked, size, given)
        else:
            connection.refused = True
            right = False in verdicts and is_refusal(asked, given) and self._goes_on(given, keeps)
            self.books.refused += right
        if not right:
            self._wrong(asked, since, str(given))
            return False
        # Half of the clients wait for the end, the others hang up as soon as they are told.
        if given.closes and random.random() < 0.5:
            instead = await connection.end()
            if instead:
                self._wrong(asked, since, f"{given}, and then {instead}")
        return not given.closes

    def ended(self, error: Ended) -> None:
        """Where no answer was due."""
        self.books.lost += 1
        self._fault(str(error))

    def _goes_on(self, refusal: Answer, keeps: bool | None) -> bool:
        return keeps is None or refusal.closes == (not keeps)

    def _wrong(self, asked: Request, since: int, came: str) -> None:
        self.books.wrong += 1
        self._tell(asked, since, came)

    def _tell(self, asked: Request, since: int, came: str) -> None:
        words = ["200" if each else "403" for each in self.period.verdicts(asked.family, since)]
        periods = f"policy {since / 2:g} to {self.period.now() / 2:g}"
        self._fault(f"sent {asked}, expected {' or '.join(words)} ({periods}), came {came}")
