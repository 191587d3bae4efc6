"""The channel between agent and worker: whole messages, in order, with their descriptors."""

from __future__ import annotations

import asyncio
import os
import socket

from l7proxy.proxy.control import Applied, Channel, Fault, Listen, Message
from tests.proxy.harness import run, until


class Ends:
    """Both ends of a channel on one loop; the second one keeps what it gets."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.messages: list[Message] = []
        self.descriptors: list[int] = []
        self.closed: list[str] = []
        self.sender = Channel(here, loop, self.keep, lambda: self.closed.append("sender"))
        self.receiver = Channel(there, loop, self.keep, lambda: self.closed.append("receiver"))

    def keep(self, message: Message, descriptors: list[int]) -> None:
        self.messages.append(message)
        self.descriptors += descriptors

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()
        for each in self.descriptors:
            os.close(each)


def test_messages_larger_than_the_socket_arrive_whole_and_in_order() -> None:
    async def test() -> None:
        ends = Ends()
        sent: list[Message] = []
        for size in (0, 10, 3_000_000, 1):
            sent += [Fault("x" * size), Applied(size)]
        for message in sent:
            ends.sender.send(message)
        assert ends.sender.pending
        await until(lambda: len(ends.messages) == len(sent))
        assert ends.messages == sent
        assert ends.sender.pending == 0
        ends.close()

    run(test())


def test_descriptors_arrive_with_their_message() -> None:
    async def test() -> None:
        ends = Ends()
        pipes = [os.pipe() for _ in range(20)]
        ends.sender.send(Fault("x" * 1_000_000))
        for number, (reading, _) in enumerate(pipes):
            ends.sender.send(Listen(str(number), None), [reading])
            os.close(reading)
        await until(lambda: len(ends.messages) == 21)
        assert len(ends.descriptors) == 20
        for number, (_, writing) in enumerate(pipes):
            os.write(writing, b"%d" % number)
            os.close(writing)
            assert os.read(ends.descriptors[number], 10) == b"%d" % number
            assert not os.get_inheritable(ends.descriptors[number])
        ends.close()

    run(test())


def test_the_end_of_the_other_side_is_told_once() -> None:
    async def test() -> None:
        ends = Ends()
        ends.sender.send(Applied(1))
        ends.sender.close()
        await until(lambda: ends.closed)
        assert ends.messages == [Applied(1)]
        ends.receiver.send(Applied(2))  # nobody there: not an error
        ends.close()
        assert ends.closed == ["receiver"]

    run(test())
