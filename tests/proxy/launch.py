"""A worker process, and the agent's end of its control channel."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l7proxy.proxy import control


@dataclass(slots=True)
class WorkerProcess:
    """A running worker: its process and the channel to it."""

    process: asyncio.subprocess.Process
    channel: control.Channel

    def send(self, message: control.Message, descriptors: Sequence[int] = ()) -> None:
        """Queues an order; see ``Channel.send``."""
        self.channel.send(message, descriptors)

    async def kill(self) -> None:
        """Ends the worker at once; its clients see resets."""
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def start_worker(
    on_message: Callable[[control.Message], None], on_closed: Callable[[], None]
) -> WorkerProcess:
    """Starts ``python -m l7proxy.proxy.worker`` with its channel; configure it next.

    ``on_message`` gets what the worker says; ``on_closed`` is called when it is gone, by whatever
    cause: ``process.wait()`` tells the exit status. Raises OSError if it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "l7proxy.proxy.worker",
            "--control-fd",
            str(theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()

    def received(message: control.Message, descriptors: list[int]) -> None:
        del descriptors  # workers send none
        on_message(message)

    channel = control.Channel(ours, asyncio.get_running_loop(), received, on_closed)
    return WorkerProcess(process, channel)
