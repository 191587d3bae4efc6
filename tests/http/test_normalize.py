"""One spelling of every path."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7proxy.http.normalize import has_escaped_slash, is_normal, normalize
from l7proxy.http.refused import Refused
from l7proxy.reasons import Reason

PIECES = st.sampled_from(
    [
        *(b"/", b"//", b".", b"..", b"...", b"a", b"%41", b"%2E", b"%2f", b"%5c", b"%25", b"%C3"),
        *(b"%c3", b"%3F", b"%7e", b"%30", b"~", b";", b"%00", b"%", b"%2", b"2F", b"41"),
    ]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


def normalized(path: bytes) -> bytes | None:
    try:
        return normalize(path)
    except Refused:
        return None


@pytest.mark.parametrize(
    ("reference", "result"),
    [
        (b"/b/c/g", b"/b/c/g"),
        (b"/b/c/./g", b"/b/c/g"),
        (b"/b/c/g/", b"/b/c/g/"),
        (b"/b/c/.", b"/b/c/"),
        (b"/b/c/./", b"/b/c/"),
        (b"/b/c/..", b"/b/"),
        (b"/b/c/../", b"/b/"),
        (b"/b/c/../g", b"/b/g"),
        (b"/b/c/../..", b"/"),
        (b"/b/c/../../", b"/"),
        (b"/b/c/../../g", b"/g"),
        (b"/b/c/../../../g", b"/g"),
        (b"/./g", b"/g"),
        (b"/../g", b"/g"),
        (b"/b/c/g.", b"/b/c/g."),
        (b"/b/c/.g", b"/b/c/.g"),
        (b"/b/c/g..", b"/b/c/g.."),
        (b"/b/c/..g", b"/b/c/..g"),
        (b"/b/c/./../g", b"/b/g"),
        (b"/b/c/./g/.", b"/b/c/g/"),
        (b"/b/c/g/./h", b"/b/c/g/h"),
        (b"/b/c/g/../h", b"/b/c/h"),
        (b"/b/c/g;x=1/./y", b"/b/c/g;x=1/y"),
        (b"/b/c/g;x=1/../y", b"/b/c/y"),
    ],
)
def test_the_examples_of_rfc3986_section_5_4(reference: bytes, result: bytes) -> None:
    assert normalize(reference) == result


def test_every_escape() -> None:
    unreserved = (string.ascii_letters + string.digits + "-._~").encode()
    for byte in range(1, 256):
        for text in (b"%%%02x" % byte, b"%%%02X" % byte):
            path = b"/x" + text + b"x"
            if byte in unreserved:
                expected = b"/x" + bytes([byte]) + b"x"
            elif byte in b"/\\":
                expected = b"/x/x"
            else:
                expected = path
            assert normalize(path) == expected
            assert is_normal(path) == (expected == path)
            assert has_escaped_slash(path) == (byte in b"/\\")


@given(PATHS)
@example(b"/%252e%252e/")
@example(b"/a//../b")
@example(b"/%2e%2e//%2e")
def test_normalising_twice_is_normalising_once(path: bytes) -> None:
    once = normalized(path)
    if once is None:
        assert not is_normal(path)
        return
    assert normalize(once) == once
    assert is_normal(once)
    assert not has_escaped_slash(once)
    assert once.startswith(b"/")
    assert not once.startswith(b"//")
    assert is_normal(path) == (path == once)


@given(PATHS)
def test_no_segment_of_dots_is_left(path: bytes) -> None:
    segments = (normalized(path) or b"/").split(b"/")
    assert b"." not in segments
    assert b".." not in segments
    assert b"" not in segments[1:-1]


def test_a_query_does_not_make_a_path_abnormal() -> None:
    assert is_normal(b"/a?b=//..%2f%41%")
    assert not is_normal(b"/a/..?b")
    assert not is_normal(b"*")
    assert not is_normal(b"")


@pytest.mark.parametrize("path", [b"/%", b"/%4", b"/%g1", b"/%%41", b"/%2%46", b"/%00", b"/a%"])
def test_broken_escapes_are_refused(path: bytes) -> None:
    with pytest.raises(Refused) as caught:
        normalize(path)
    assert caught.value.reason is Reason.BAD_PATH_ENCODING
