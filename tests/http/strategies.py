"""Requests for property tests: near the grammar, so that many are valid and the rest almost."""

from __future__ import annotations

from hypothesis import strategies as st

METHODS = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"get", b""]
)
PATH_PIECES = st.sampled_from(
    [
        *(b"/", b"//", b".", b"..", b"/./", b"/../", b"a", b"users", b"%41", b"%2e", b"%2E%2e"),
        *(b"%2f", b"%5C", b"%25", b"%00", b"%", b"%c3%A9", b"~", b"?", b"?x=%2f//..", b";v=1"),
        *(b"#", b"\\", b" ", b"\x00", b"\xff", b"*", b"http://users", b"{", b"|"),
    ]
)
TARGETS = st.one_of(
    st.lists(PATH_PIECES, max_size=6).map(lambda pieces: b"/" + b"".join(pieces)),
    st.lists(PATH_PIECES, min_size=1, max_size=6).map(b"".join),
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"] * 2 + [b"HTTP/1.2", b"http/1.1", b""])
FIELDS = st.sampled_from(
    [
        *(b"Host: users", b"Host: users:80", b"host: Users", b"Host: a@b", b"Host:"),
        *(
            b"Content-Length: 5",
            b"Content-Length: 0",
            b"Content-Length: 05",
            b"Content-Length: 5,5",
        ),
        *(b"content-length: +5", b"Content-Length : 5", b"Content-Length:", b"Content-Length: 5 "),
        *(b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip"),
        *(b"Transfer-Encoding:\tchunked ", b"Transfer-Encoding: \x0bchunked", b"TE: trailers"),
        *(b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade, x-key"),
        *(b"Connection: host", b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue"),
        *(
            b"X-Key: v",
            b"X-Key: w",
            b"X_Key: v",
            b"X-Key: a\x00b",
            b"X-Key: \xff",
            b"X-Key:\t a\tb ",
        ),
        *(b"X-Forwarded-For: 1.2.3.4", b"X-Request-Id: abc", b"Keep-Alive: timeout=5"),
        *(
            b" folded",
            b"\tfolded",
            b"no colon",
            b": empty",
            b"X-\rKey: v",
            b"X-Key: a\nb",
            b"X-Key: a\rb",
        ),
    ]
)
LINE_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b" \r\n"])
CONTENTS = st.sampled_from(
    [
        *(
            b"",
            b"",
            b"hello",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5;a=b\r\nhello\r\n0\r\n\r\n",
        ),
        *(
            b"1\r\na\r\n0\r\nX-T: 1\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"g\r\n",
            b"5\nhello\n0\n\n",
        ),
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request made of the pieces above, one byte of it changed now and then."""
    line = draw(METHODS) + b" " + draw(TARGETS) + b" " + draw(VERSIONS)
    fields = draw(st.lists(FIELDS, max_size=4))
    if draw(st.integers(0, 9)):
        fields.insert(0, b"Host: users")
    head = b"".join(text + draw(LINE_ENDS) for text in (line, *fields))
    wire = draw(st.sampled_from([b"", b"", b"", b"\r\n"])) + head + b"\r\n" + draw(CONTENTS)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(wire) - 1))
        replacement = bytes([draw(st.integers(0, 255))])
        wire = wire[:at] + replacement + wire[at + draw(st.integers(0, 1)) :]
    return wire


@st.composite
def valid_heads(draw: st.DrawFn) -> bytes:
    """A request head that is accepted."""
    path = draw(
        st.lists(
            st.sampled_from([b"/", b"a", b"..", b".", b"%41", b"%25", b"~", b"b-c", b";x"]),
            max_size=8,
        )
    )
    query = draw(st.sampled_from([b"", b"?", b"?a=b//..%2f"]))
    minor = draw(st.sampled_from([b"1", b"1", b"0"]))
    fields = draw(
        st.lists(
            st.sampled_from(
                [
                    *(b"Accept: */*", b"X-Key: v", b"X-Key:w ", b"x-empty:", b"Cookie: a=b; c=d"),
                    *(b"Connection: close", b"Connection: x-key, keep-alive", b"TE: trailers"),
                    *(b"X-Forwarded-For: 1.2.3.4", b"X-Request-Id: abc", b"X-Request-Id: d e"),
                    *(b"Keep-Alive: 5", b"Proxy-Connection: x", b"Expect: 100-continue"),
                    *(b"Upgrade: websocket", b"Connection: upgrade", b"X-Forwarded-Proto: https"),
                ]
            ),
            max_size=6,
        )
    )
    framings = [b"", b"", b"Content-Length: 5\r\n", b"Content-Length: 00\r\n"]
    if minor == b"1":
        framings.append(b"Transfer-Encoding: Chunked\r\n")
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT"]))
    return (
        method
        + b" /"
        + b"".join(path)
        + query
        + b" HTTP/1."
        + minor
        + b"\r\nHost: Users:80\r\n"
        + b"".join(field + b"\r\n" for field in fields)
        + draw(st.sampled_from(framings))
        + b"\r\n"
    )
