"""File descriptors: as many as the kernel lets this process have, and no more clients than fit."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import replace

from l7proxy.limits import Limits

_EACH = 2
"""Of one connection: the client's end, and the backend's."""
_OWN = 64
"""Of a worker with nothing to do: standard streams, control channel, event loop, log, maps."""
_EACH_NAMESPACE = 4
"""Of a covered namespace: its listeners, of two families, and the way into it."""


def raise_limit() -> int:
    """Make the soft limit of open files the hard one, for this process and those it starts.

    Returns how many files a process may have open. Shells and systemd start services with a soft
    limit of 1024, which is for programs that use select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Refused where the hard limit is over fs.nr_open: what there is must do.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


def fitted(limits: Limits, files: int) -> Limits:
    """``limits`` with as many connections as a worker that may open ``files`` files can have.

    A client past that limit is answered 503; one past the limit of files could only be reset, and
    requests of the others would find no way to their backend.
    """
    own = _OWN + _EACH_NAMESPACE * limits.namespaces
    if files >= _wanted(limits, own):
        return limits
    # What little there is goes to connections first.
    own = min(own, files // 4)
    answers = min(limits.overload_answers, files // 8)
    idle = min(limits.pool_idle, files // 8)
    connections = max((files - own - answers - idle) // _EACH, 1)
    return replace(
        limits,
        connections=min(connections, limits.connections),
        overload_answers=answers,
        pool_idle=idle,
    )


def warning(limits: Limits, effective: Limits, files: int) -> str:
    """What to say about limits that shrank, and what helps; nothing if connections did not."""
    if effective.connections >= limits.connections:
        return ""
    enough = _wanted(limits, _OWN + _EACH_NAMESPACE * limits.namespaces)
    return (
        f"warning: limits.connections is {effective.connections} for each worker, not"
        f" {limits.connections}: a process may open {files} files here; raise that hard limit"
        f" to {enough} (LimitNOFILE= of systemd, or ulimit -Hn)"
    )


def _wanted(limits: Limits, own: int) -> int:
    return own + _EACH * limits.connections + limits.overload_answers + limits.pool_idle
