"""Tables that were made before, by their content: only what changed is compiled again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from l7proxy.compiler.dfa import Dfa
from l7proxy.compiler.errors import Bounds, TooLarge, Unsupported

_FAILURE_BYTES = 256


class DfaCache:
    """Finished tables, and what could not become one, under a bound; the longest unused go first.

    For one thread at a time.
    """

    __slots__ = ("_bytes", "_found", "_most_bytes")

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._found: OrderedDict[bytes, Dfa | Unsupported | TooLarge] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    @property
    def table_bytes(self) -> int:
        """What the tables that are kept take, in bytes."""
        return self._bytes

    def get(self, content: object, bounds: Bounds, make: Callable[[Bounds], Dfa]) -> Dfa:
        """The table of ``content`` within ``bounds``, by ``make`` where it is not known.

        ``content`` is anything whose ``repr`` says all that ``make`` builds on. Raises what
        ``make`` raised or raises.
        """
        key = hashlib.sha256(repr((content, bounds)).encode("utf-8", "surrogatepass")).digest()
        known = self._found.get(key)
        if known is None:
            try:
                known = make(bounds)
            except Unsupported as error:
                known = Unsupported(error.reason)
            except TooLarge as error:
                known = TooLarge(error.states)
            self._found[key] = known
            self._bytes += _bytes_of(known)
            while self._bytes > self._most_bytes and len(self._found) > 1:
                self._bytes -= _bytes_of(self._found.popitem(last=False)[1])
        else:
            self._found.move_to_end(key)
        if isinstance(known, Unsupported):
            raise Unsupported(known.reason)
        if isinstance(known, TooLarge):
            raise TooLarge(known.states)
        return known


def _bytes_of(entry: Dfa | Unsupported | TooLarge) -> int:
    return entry.table_bytes if isinstance(entry, Dfa) else _FAILURE_BYTES
