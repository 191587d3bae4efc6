"""What a suite said on a way, held against what it said directly. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.transparency.running import Outcome, Outcomes

ABSENT = Outcome("absent")
"""Of a test that was not even collected."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A test that ended otherwise, and how it ended each further time; the first run leads.

    ``name`` tells why it has to be so, None where nobody has said it.
    """

    test: str
    direct: tuple[Outcome, ...]
    got: tuple[Outcome, ...]
    name: str | None = None

    @property
    def words(self) -> tuple[list[str], list[str]]:
        """The outcomes' words, direct ones and those of the way."""
        return [one.word for one in self.direct], [one.word for one in self.got]

    @property
    def unsteady(self) -> bool:
        """The test is, not the way: it varies directly too, among the same outcomes, or did not
        differ again."""
        direct, got = self.words
        again = set(got[1:])
        varies = len(set(direct)) > 1 and not set(direct).isdisjoint(got)
        return varies or (bool(again) and again == set(direct))

    @property
    def failed(self) -> bool:
        """It differs again and again, and has no name."""
        return not self.unsteady and self.name is None


def differing(direct: Outcomes, got: Outcomes) -> frozenset[str]:
    """The tests whose outcomes are not of one word."""
    tests = direct.keys() | got.keys()
    return frozenset(
        test for test in tests if direct.get(test, ABSENT).word != got.get(test, ABSENT).word
    )


def differences(
    direct: Sequence[Outcomes], got: Sequence[Outcomes], names: Mapping[str, str]
) -> list[Difference]:
    """Of the first run of each way, with what the others (of some of the tests) said of them."""
    return [
        Difference(test, _outcomes(direct, test), _outcomes(got, test), names.get(test))
        for test in sorted(differing(direct[0], got[0]))
    ]


def _outcomes(runs: Iterable[Outcomes], test: str) -> tuple[Outcome, ...]:
    return tuple(run.get(test, ABSENT) for run in runs)
