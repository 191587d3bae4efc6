"""Sets of characters, compared with RE2 over all code points."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from l7proxy.compiler import charsets
from l7proxy.compiler.charsets import ASCII_TOP, UNICODE_TOP
from l7proxy.compiler.dfa import compile_patterns

CLASSES = (
    *("L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc"),
    *("Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp"),
    *("C", "Cc", "Cf", "Co", "Cs", "Any", "Latin", "Greek", "Cyrillic", "Han", "Arabic", "Hangul"),
    *("Common", "Inherited", "Devanagari", "Hiragana", "Thai", "Braille"),
)


def members(ranges: charsets.Ranges) -> set[int]:
    return {point for first, last in ranges for point in range(first, last + 1)}


@pytest.mark.parametrize("name", CLASSES)
def test_a_unicode_class_is_re2s(name: str) -> None:
    """At both ends of every range, and one beyond, through the bytes of the finished table."""
    found = charsets.unicode_class(name, UNICODE_TOP, fold=False)
    table = compile_patterns([rf"\p{{{name}}}"])
    expected = re2.compile(rf"\p{{{name}}}")
    for first, last in found:
        for point in {first - 1, first, last, last + 1} - {-1, UNICODE_TOP + 1}:
            value = charsets.encode(point)
            inside = expected.fullmatch(value) is not None
            assert inside == charsets.contains(found, point)
            assert inside == table.match(value), hex(point)


@pytest.mark.parametrize("name", ["Lu", "Greek", "Nd"])
def test_no_code_point_is_missed(name: str) -> None:
    inside = members(charsets.unicode_class(name, UNICODE_TOP, fold=False))
    every = "".join(map(chr, range(UNICODE_TOP + 1))).encode("utf-8", "surrogatepass")
    found = re2.findall(rf"\p{{{name}}}".encode(), every)
    assert inside == {ord(each.decode()) for each in found}


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        *((f"[[:{name}:]]", ranges) for name, ranges in charsets.POSIX.items()),
        *((f"\\{letter}", ranges) for letter, ranges in charsets.PERL.items()),
    ],
)
def test_an_ascii_class_is_re2s(text: str, ranges: charsets.Ranges) -> None:
    assert charsets.probe(text, UNICODE_TOP) == charsets.union(ranges) == ranges


@pytest.mark.parametrize("top", [ASCII_TOP, UNICODE_TOP])
def test_ascii_letters_ignore_case_as_in_re2(top: int) -> None:
    for point in range(ASCII_TOP + 1):
        expected = charsets.probe(rf"(?i)\x{{{point:x}}}", top)
        assert charsets.folded(((point, point),), top) == expected


spans = st.tuples(st.integers(0, UNICODE_TOP), st.integers(0, 70_000)).map(
    lambda span: (span[0], min(span[0] + span[1], UNICODE_TOP))
)


@given(st.lists(spans, min_size=1, max_size=4), st.lists(st.integers(0, UNICODE_TOP), max_size=20))
def test_sets_in_utf8_hold_just_their_code_points(
    found: list[tuple[int, int]], points: list[int]
) -> None:
    ranges = charsets.union(found)
    text = "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in found) + "]"
    table = compile_patterns([text, text.replace("[", "[^", 1)])
    edges = [point for span in ranges for point in (*span, span[0] - 1, span[1] + 1)]
    for point in points + edges:
        if 0 <= point <= UNICODE_TOP:
            inside = charsets.contains(ranges, point)
            assert table.match(charsets.encode(point)) == (1 if inside else 2), hex(point)


@given(st.lists(spans, max_size=6))
def test_a_complement_holds_the_rest(found: list[tuple[int, int]]) -> None:
    ranges = charsets.union(found)
    rest = charsets.complement(ranges, UNICODE_TOP)
    assert charsets.union(ranges + rest) == ((0, UNICODE_TOP),)
    assert charsets.complement(rest, UNICODE_TOP) == ranges
