"""The one exception of this package: a message that is not served, and why."""

from __future__ import annotations

from l7proxy.reasons import Reason


class Refused(Exception):
    """A message that is malformed, ambiguous or beyond a limit.

    ``detail`` is one line for the log: it says what was found, never quoting more than a few
    bytes of it. ``location`` is the target of the redirect when ``reason`` is ESCAPED_SLASH.
    """

    def __init__(self, reason: Reason, detail: str, location: bytes | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.location = location

    def __reduce__(self) -> tuple[type[Refused], tuple[Reason, str, bytes | None]]:
        return Refused, (self.reason, self.detail, self.location)
