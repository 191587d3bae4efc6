"""Where llhttp refuses what we and h11 read, it is for a reason that has a name."""

from __future__ import annotations

import pytest

from tests.kernel.differences import Difference
from tests.kernel.readers import read_alike

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"


@pytest.mark.parametrize(
    "extension", [b"", b";a", b";a=b;c", b";a=", b';a="b c"', b';a="\\"\xff\t"']
)
def test_parameters_are_read_by_all(extension: bytes) -> None:
    assert read_alike(HEAD + b"\r\n\r\n3%b\r\nabc\r\n0%b\r\n\r\n" % (extension, extension)) is None


@pytest.mark.parametrize(
    "extension",
    [b";", b"; a", b";a]=b", b';a="b', b";a b", b";a =b", b";;", b";a\t", b';a="b"c', b";a=b=c"],
)
@pytest.mark.parametrize("place", [b"3%b\r\nabc\r\n0\r\n\r\n", b"1\r\na\r\n0%b\r\n\r\n"])
def test_other_extensions_llhttp_refuses(extension: bytes, place: bytes) -> None:
    assert read_alike(HEAD + b"\r\n\r\n" + place % extension) is Difference.LLHTTP_EXTENSION


def test_a_tab_behind_the_coding_llhttp_refuses() -> None:
    assert read_alike(HEAD + b"\t\r\n\r\n0\r\n\r\n") is Difference.LLHTTP_TAB
