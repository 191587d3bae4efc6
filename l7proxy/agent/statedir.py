"""The state directory: one agent at a time, and a clean start."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from l7proxy.agent.errors import AgentError
from l7proxy.file_errors import reason

_MODE = 0o700


class StateDir:
    """The directory ``path``, held by this process until ``close``.

    The kernel lets go of the lock when the process ends, however it ends: what a killed agent
    leaves does not keep the next one from starting.
    """

    def __init__(self, path: Path) -> None:
        """Raises AgentError if another agent holds it or it cannot be used."""
        self.path = path
        try:
            path.mkdir(mode=_MODE, parents=True, exist_ok=True)
            self.metrics.mkdir(mode=_MODE, exist_ok=True)
            self._fd = os.open(path / "agent.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AgentError(
                f"{path}: the state directory cannot be used: {reason(error)};"
                " set another with state: in the configuration"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise AgentError(
                f"{path}: another agent runs on this state directory (pid {holder or 'unknown'});"
                " stop it first"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    @property
    def metrics(self) -> Path:
        """Where the workers keep their tallies."""
        return self.path / "metrics"

    @property
    def admin_socket(self) -> Path:
        return self.path / "admin.sock"

    @property
    def log_lock(self) -> Path:
        """What workers lock to write to the access log one at a time."""
        return self.path / "access-log.lock"

    def close(self) -> None:
        """Let the next agent in. The files stay, the pid in them does not."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
