"""One table a field: method and path as one language, host, header values."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from l7proxy.compiler import alphabets
from l7proxy.compiler.fields import Pair, header_table, host_table, method_and_path
from l7proxy.http.authority import is_authority
from l7proxy.http.grammar import TARGET, TOKEN
from l7proxy.policy import patterns

METHODS = (None, "GET", "POST", "GET|POST", "G.*", "[^G].*", ".*", "(?i)get", "GET ?", "")
PATHS = (
    None,
    "/",
    "/.*",
    "/a",
    "/a/[^/]+",
    "/a(/.*)?",
    "/a/b",
    ".* .*",
    r"/\w+",
    "/é",
    "[^é]*",
    "",
)
methods = st.sampled_from([b"GET", b"get", b"POST", b"G", b"PUT", b"GETX"])
targets = st.sampled_from(
    [b"/", b"/a", b"/a/", b"/a/b", b"/a/b/c", b"/a?x=1", b"*", b"/a/b/", b"/b", b"/_1"]
)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(METHODS), st.sampled_from(PATHS)), min_size=1, max_size=8),
    methods,
    targets,
)
def test_method_and_path_are_matched_as_two_fields(
    pairs: list[Pair], method: bytes, path: bytes
) -> None:
    expected = sum(
        1 << number
        for number, (of_method, of_path) in enumerate(pairs)
        if (of_method is None or patterns.matcher(of_method)(method))
        and (of_path is None or patterns.matcher(of_path)(path))
    )
    assert method_and_path(pairs).match(method + b" " + path) == expected


def test_no_pattern_reaches_across_the_space() -> None:
    table = method_and_path([(".*", "/b"), ("GET", ".*"), ("GET /a", None), (None, "/a /b")])
    assert table.match(b"GET /a") == 0b0010
    assert table.match(b"GET /a /b") == 0
    assert table.match(b"GET /b") == 0b0011
    assert table.match(b"GET  /b") == 0


def test_a_rule_without_method_and_path_is_satisfied_everywhere() -> None:
    table = method_and_path([(None, None), ("GET", "/a")])
    assert [table.match(each) for each in (b"GET /a", b"PUT /a", b"", b"  ")] == [3, 1, 1, 1]


def test_methods_alone_do_not_multiply_paths() -> None:
    paths = [f"/{number}" for number in range(50)]
    alone = method_and_path([("GET", path) for path in paths])
    both = method_and_path([("GET|POST", path) for path in paths])
    assert both.states <= alone.states + 4


def test_a_host_is_read_in_any_case() -> None:
    table = host_table(["users", None, r"[a-z]+\.example\.com(:[0-9]+)?", "(?i)USERS", "Users"])
    assert table.match(b"users") == table.match(b"USERS") == 0b01011
    assert table.match(b"Api.Example.com:80") == 0b00110
    assert table.match(b"") == 0b00010


def test_header_values_are_exact() -> None:
    table = header_table([(b"gold",), (None,), (), (b"gold", None), (b"gold", b"silver"), (b"",)])
    assert table.match(b"gold") == 0b001111
    assert table.match(b"silver") == table.match(b"Gold") == 0b000110
    assert table.match(b"") == 0b100110
    assert table.match(b"gold,gold") == 0b000110


def test_the_alphabets_are_those_of_accepted_requests() -> None:
    for byte in range(256):
        one = bytes((byte,))
        assert alphabets.is_made_of(one, alphabets.METHOD) == bool(TOKEN.fullmatch(one))
        assert alphabets.is_made_of(one, alphabets.PATH) == bool(TARGET.fullmatch(one))
        in_name = is_authority(b"a" + one + b"a") or is_authority(b"a" + one + b"1")
        in_address = is_authority(b"[" + one + b"::]") or byte in b"[]"
        inside = alphabets.is_made_of(one.lower(), alphabets.HOST)
        assert inside == (in_name or in_address)


def test_bytes_that_no_value_holds_are_in_no_table() -> None:
    table = method_and_path([(None, "/.*"), ("[^/]*", None)])
    for value in (b"GET /\xc3\xa9", b"GET /#", b"GET /\\", b"G\xc3 /", b"GET"):
        assert table.match(value) == 0
    assert table.match(b"GET /a") == 3


def test_a_rule_without_path_is_satisfied_by_any_path() -> None:
    table = method_and_path([("GET", None), ("GET", "/a")])
    assert [table.match(each) for each in (b"GET /a", b"GET /", b"GET *", b"GET ")] == [3, 1, 1, 1]
