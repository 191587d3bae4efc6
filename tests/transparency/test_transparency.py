"""A class of CPython's own tests on both ways, and what is a difference and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from l7proxy.datapath import short_circuit
from tests.transparency import running, suites
from tests.transparency.comparison import differences, differing
from tests.transparency.running import Outcome, Outcomes
from tests.transparency.suites import Suite
from tests.transparency.town import DIRECT, SPLICE, town


def outcomes(**words: str) -> Outcomes:
    return {test: Outcome(word) for test, word in words.items()}


def test_the_same_outcomes_are_no_difference() -> None:
    assert not differing(outcomes(a="passed", b="failed"), outcomes(a="passed", b="failed"))


def test_a_test_that_was_not_run_is_one() -> None:
    assert differing(outcomes(a="passed"), outcomes()) == {"a"}
    assert differing(outcomes(), outcomes(a="passed")) == {"a"}


@pytest.mark.parametrize(
    ("direct", "got", "name", "unsteady", "failed"),
    [
        ("ppp", "fff", None, False, True),
        ("ppp", "fff", "because", False, False),
        ("ppp", "fpp", None, True, False),
        ("ppp", "fpf", None, False, True),
        ("pfp", "fff", None, True, False),
        ("pup", "fff", None, False, True),
    ],
)
def test_what_further_runs_say(
    direct: str, got: str, name: str | None, unsteady: bool, failed: bool
) -> None:
    names = {"test": name} if name else {}
    before, after = (
        [
            outcomes(test={"p": "passed", "f": "failed", "u": "unfinished"}[letter])
            for letter in letters
        ]
        for letters in (direct, got)
    )
    (found,) = differences(before, after, names)
    assert (found.unsteady, found.failed) == (unsteady, failed)


def test_a_limit_that_excuses_a_test_is_on_the_list() -> None:
    listed = {each.name for each in short_circuit.DIFFERENCES}
    used = {name for suite in suites.SUITES for name in suite.limits.values()}
    assert used
    assert used <= listed


SMALL = '''
import socket, time, unittest

class Small(unittest.TestCase):
    def test_urgent(self):
        """Urgent data is out of line with TCP, and in line when short-circuited."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client, (end, _) = socket.create_connection(server.getsockname()), server.accept()
            with client, end:
                client.send(b"a")
                client.send(b"!", socket.MSG_OOB)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(b"".join(iter(lambda: end.recv(9), b"")), b"a")

    def test_echo(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            client, (end, _) = socket.create_connection(server.getsockname()), server.accept()
            with client, end:
                client.send(b"a")
                self.assertEqual(end.recv(9), b"a")

    def test_skipped(self):
        self.skipTest("why not")

    def test_hangs(self):
        time.sleep(60)
'''


@pytest.mark.needs_ebpf
def test_each_way_says_what_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite with a test that must differ, one that must not, and one that hangs."""
    small = Suite("small", ("small",), modules=tmp_path)
    (tmp_path / "small.py").write_text(SMALL)
    monkeypatch.setattr(suites, "TEST_PATIENCE", 2)
    with town() as place:
        found = {}
        for way in (DIRECT, SPLICE):
            before = place.seen()
            found[way] = running.run(small, place.places[way], tmp_path / way)
            seen = place.seen().since(before)
            assert bool(seen.paired) == bool(seen.redirected) == (way == SPLICE)
    words = {test.rpartition(".")[2]: one.word for test, one in found[DIRECT].items()}
    assert words == {
        "test_echo": "passed",
        "test_hangs": "unfinished",
        "test_skipped": "skipped",
        "test_urgent": "passed",
    }
    assert differing(found[DIRECT], found[SPLICE]) == {"small.Small.test_urgent"}
