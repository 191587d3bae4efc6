"""What the head automaton does besides changing its state: one 64-bit word for each state.

Every byte that leads into a state carries out the state's whole word, without a branch: a part
that is not asked for adds zero, multiplies by one, or writes where nobody reads. The parts:

    bits    meaning
    0       add to counter TARGET
    1-6     flag to raise (0: none); one that is up already is raised in ``twice`` too
    8-11    slot of the field that the byte belongs to (0: none)
    12      FEED: walk the slot's table on by this byte
    13      COMMIT: the slot's value may end here, keep its table's state
    14      RESET: a value begins, go to the start of the slot's table
    16      add to counter HOST
    17-21   multiply the number by this
    22      add the digit (decimal or hexadecimal) to the number
    23-24   remember where this byte is (0: do not)
    32      add to counter DIGITS
    48      add to counter FIELDS

The four counters are the 16-bit lanes of one word, so that one addition serves all.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

SLOT_SHIFT, FEED, COMMIT, RESET = 8, 12, 13, 14
FACTOR_SHIFT, DIGIT, MARK_SHIFT = 17, 22, 23
FLAG_SHIFT = 1
FLAG_BITS, SLOT_BITS, FACTOR_BITS, MARK_BITS = 63, 15, 31, 3


class Count(IntEnum):
    """A counter, as the lowest bit of its lane.

    TARGET: bytes of the target. HOST: bytes of the host name, or groups of an IPv6 address.
    DIGITS: of Content-Length or of a chunk size. FIELDS: field lines.
    """

    TARGET = 0
    HOST = 16
    DIGITS = 32
    FIELDS = 48


LANE = 0xFFFF
COUNTERS = sum(1 << count for count in Count)


class Mark(IntEnum):
    """A place in a head that is remembered: of the space behind the method, of the space behind
    the target, and of the colon behind ``Host``."""

    METHOD_END = 1
    TARGET_END = 2
    HOST_COLON = 3


class Flag(IntEnum):
    """A fact about the head. ``twice`` tells which were found again, for fields that must not be
    repeated. Watched headers follow from WATCHED on, in the order of their slots."""

    EMPTY_LINE = 1  # one before the request line
    CONNECT = 2
    OPTIONS = 3
    HEAD = 4
    GET = 5
    POST = 6
    PUT = 7
    DELETE = 8
    PATCH = 9
    TRACE = 10
    ASTERISK = 11  # the target starts with *, and is * unless BAD_TARGET
    BAD_TARGET = 12
    ABSOLUTE = 13
    BAD_ENCODING = 14
    ESCAPED_SLASH = 15
    NOT_NORMAL = 16
    HTTP10 = 17
    HOST = 18
    BAD_HOST = 19
    LITERAL = 20  # the host is an IPv6 address without ::
    SHORT_LITERAL = 21  # with ::
    DOTTED_LITERAL = 22  # with an IPv4 address inside
    LENGTH = 23
    BAD_LENGTH = 24
    CODING = 25
    BAD_CODING = 26
    CONNECTION = 27
    CLOSE = 28
    KEEP_ALIVE = 29
    UPGRADE_OPTION = 30
    BAD_OPTION = 31
    NAMES_WATCHED = 32  # Connection names a field that somebody looks at
    UPGRADE = 33
    WEBSOCKET = 34
    EXPECT = 35
    BAD_EXPECT = 36
    FORBIDDEN = 37  # a field that must not be a trailer, and is none of those above
    WATCHED = 40


METHODS = tuple(Flag(number) for number in range(Flag.CONNECT, Flag.TRACE + 1))
"""The flags of methods that are told apart, one at most in a head. What is counted of a request
has a number instead: 1 for the first of them, and 0 for every other method."""


class Slot(IntEnum):
    """A field that a table reads. Watched headers follow from HEADER on."""

    NONE = 0
    METHOD_AND_PATH = 1
    HOST = 2
    HEADER = 3


MAX_WATCHED = SLOT_BITS + 1 - Slot.HEADER


class Feed(IntFlag):
    """What a byte is to the value it belongs to."""

    NOTHING = 0
    WALK = 1 << FEED
    KEEP = 1 << COMMIT
    BEGIN = 1 << RESET


def action(
    flag: int = 0,
    count: Count | None = None,
    slot: int = 0,
    feed: Feed = Feed.NOTHING,
    *,
    factor: int = 1,
    digit: bool = False,
    mark: int = 0,
) -> int:
    """The word of a state. ``factor`` 0 clears the number."""
    word = flag << FLAG_SHIFT | factor << FACTOR_SHIFT | digit << DIGIT | mark << MARK_SHIFT
    if slot:
        word |= slot << SLOT_SHIFT | feed
    if count is not None:
        word |= 1 << count
    return word


NOTHING = action()
