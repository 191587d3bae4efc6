from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from l7proxy.observe.writer import LineWriter
from tests.support.waiting import eventually

PATIENCE = 10.0


def test_lines_are_written_in_order_and_on_close(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = LineWriter(fd)
    lines = [f"{number}\n".encode() for number in range(5000)]
    for line in lines:
        log.write(line)
    log.close()
    os.close(fd)

    assert path.read_bytes() == b"".join(lines)
    assert log.lost == 0


def test_lines_appear_without_close() -> None:
    read, write = os.pipe()
    log = LineWriter(write)
    log.write(b"one\n")

    assert os.read(read, 100) == b"one\n"
    log.close()
    os.close(read)
    os.close(write)


def test_a_reader_that_sleeps_costs_lines_and_never_time() -> None:
    read, write = os.pipe()
    log = LineWriter(write, buffer_bytes=1 << 20)
    line = b"x" * 1023 + b"\n"
    for _ in range(4096):
        log.write(line)

    lost = log.lost
    assert lost >= 4096 - 1024 - 64 - 64  # the buffer, the pipe, and a batch being written
    received = bytearray()
    reader = threading.Thread(target=lambda: [received.extend(data) for data in _until_eof(read)])
    reader.start()
    log.close()
    os.close(write)
    reader.join()
    assert len(received) == (4096 - lost) * len(line)
    os.close(read)


def test_who_waits_for_room_loses_nothing() -> None:
    read, write = os.pipe()
    log = LineWriter(write, buffer_bytes=1 << 20)
    line = b"x" * 1023 + b"\n"
    received = bytearray()
    reader = threading.Thread(target=lambda: [received.extend(data) for data in _until_eof(read)])
    reader.start()
    for _ in range(16):
        assert log.wait_for_room(60)
        for _ in range(512):
            log.write(line)
    log.close()
    os.close(write)
    reader.join()
    assert log.lost == 0
    assert received == 16 * 512 * line
    os.close(read)


def test_who_waits_for_room_is_told_that_nothing_moves() -> None:
    read, write = os.pipe()
    log = LineWriter(write, buffer_bytes=4096)
    for _ in range(1000):
        if not log.wait_for_room(0.01):
            break
        log.write(bytes(2000))
    else:
        pytest.fail("there is room for everything")
    assert log.lost == 0
    os.close(read)
    log.close()
    os.close(write)


def test_a_reader_that_went_away_costs_lines_only() -> None:
    read, write = os.pipe()
    os.close(read)
    log = LineWriter(write)
    log.write(b"one\n")
    log.write(b"two\n")
    log.close()
    os.close(write)

    assert log.lost == 2


def test_a_descriptor_that_someone_made_non_blocking_gets_every_line() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    log = LineWriter(write)
    line = b"y" * 999 + b"\n"
    for _ in range(1000):
        log.write(line)
    received = bytearray()
    reader = threading.Thread(target=lambda: [received.extend(data) for data in _until_eof(read)])
    reader.start()
    log.close()
    os.close(write)
    reader.join()
    os.close(read)

    assert bytes(received) == line * 1000


_WRITER = """
import sys
from pathlib import Path
from l7proxy.observe.writer import LineWriter
log = LineWriter(1, Path(sys.argv[1]))
for number in range(200):
    log.write(sys.argv[2].encode() * 9999 + b"\\n")
log.close()
assert log.lost == 0, log.lost
"""


def test_long_lines_of_two_workers_do_not_mix_in_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / "lock"), name], stdout=write
        )
        for name in "ab"
    ]
    os.close(write)
    received = b"".join(_until_eof(read))
    os.close(read)

    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(set(received.split(b"\n"))) == [b"", b"a" * 9999, b"b" * 9999]
    assert received.count(b"\n") == 400


def test_a_loss_is_told_though_nothing_comes_after_it() -> None:
    """Seen to fail: with ``while self._lines`` the batch that blocked is the last that comes."""
    read, write = os.pipe()
    os.write(write, b"." * 65536)
    line = b"z" * 1023 + b"\n"
    log = LineWriter(write, buffer_bytes=4096, lost_line=lambda count: b"lost %d\n" % count)
    for _ in range(4):
        log.write(line)
    log.flush_soon()
    eventually(lambda: blocked_writers(os.getpid()), PATIENCE)
    log.write(line)
    log.write(line)
    assert log.lost == 2
    received = b""
    while not received.endswith(b"lost 2\n"):
        assert select.select([read], [], [], PATIENCE)[0], "the loss is not told"
        received += os.read(read, 1 << 20)
    assert received == b"." * 65536 + 4 * line + b"lost 2\n"
    log.close()
    os.close(read)
    os.close(write)


def blocked_writers(pid: int) -> int:
    """Threads of a process that wait for room in a pipe."""
    calls = Path(f"/proc/{pid}/task").glob("*/syscall")
    return sum(call.read_text().startswith("1 ") for call in calls)


def test_a_reader_that_catches_up_is_told_what_it_missed() -> None:
    read, write = os.pipe()
    line = b"z" * 1023 + b"\n"
    log = LineWriter(write, buffer_bytes=1 << 17, lost_line=lambda count: b"lost %d\n" % count)
    for _ in range(1024):
        log.write(line)
    lost = log.lost
    assert lost > 0
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.extend(_until_eof(read)))
    reader.start()
    log.close()
    os.close(write)
    reader.join()
    os.close(read)

    *lines, told = b"".join(received).splitlines(keepends=True)
    assert lines == [line] * (1024 - lost)
    assert told == b"lost %d\n" % lost
    assert log.lost == lost


def _until_eof(fd: int):
    while data := os.read(fd, 65536):
        yield data
