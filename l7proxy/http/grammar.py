"""The characters of HTTP/1.1 and the regular expressions of a well-formed head.

The expressions are strict: what they match is well-formed, byte for byte, and what they do not
match is explained by ``l7proxy.http.head``. None of them can backtrack beyond one line, because
every repeated class excludes the byte that ends it.
"""

from __future__ import annotations

import re

# RFC 9110 5.6.2: tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" /
# "`" / "|" / "~" / DIGIT / ALPHA; token = 1*tchar. Underscore is a tchar: names such as X_Real_IP
# are legal and passed on as they are.
TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

# RFC 9110 5.5: field-vchar = VCHAR / obs-text; field-content may hold SP and HTAB inside.
# "Field values containing CR, LF, or NUL characters are invalid and dangerous"; other control
# bytes are refused too.
FIELD_BYTE = rb"[\t\x20-\x7e\x80-\xff]"

# RFC 3986 2: a URI is made of ASCII characters. Visible ones that RFC 3986 does not list (quotes,
# braces, "|", "^", "`", "[", "]", "<", ">") are sent by real clients and harmless; a fragment
# ("#") never belongs in a request (RFC 9110 7.1), and "\" is a slash to some servers.
TARGET_BYTE = rb'[!"$-\[\]-~]'

# RFC 9112 5: field-line = field-name ":" OWS field-value OWS. "No whitespace is allowed between
# the field name and colon."
FIELD_LINE = TCHAR + rb"+:" + FIELD_BYTE + rb"*\r\n"

# RFC 9112 3: request-line = method SP request-target SP HTTP-version. 2.2: "a server that is
# expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF)
# received prior to the request-line": exactly one is ignored, and never sent on.
REQUEST_HEAD = re.compile(
    rb"(?:\r\n)?(" + TCHAR + rb"+) (" + TARGET_BYTE + rb"+) HTTP/1\.([01])\r\n"
    rb"(?:" + FIELD_LINE + rb")*\r\n\Z"
)

# RFC 9112 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]. The space before an
# absent phrase is left out by many servers, with no second reading of the line.
RESPONSE_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + FIELD_BYTE + rb"*))?(\r\n)"
    rb"(?:" + FIELD_LINE + rb")*\r\n\Z"
)

# The fields of a section that is known to be well-formed, value without leading whitespace.
_FIELDS = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")

TOKEN = re.compile(TCHAR + rb"+")
VALUE = re.compile(FIELD_BYTE + rb"*")
TARGET = re.compile(TARGET_BYTE + rb"+")

Fields = tuple[tuple[bytes, bytes], ...]


def fields_of(head: bytes, start: int) -> Fields:
    """The (name, value) pairs of a proven head from the first field line at ``start``.

    RFC 9110 5.5: "A field value does not include leading or trailing whitespace."
    """
    pairs = _FIELDS.findall(head, start)
    if b" \r\n" in head or b"\t\r\n" in head:
        return tuple((name, value.rstrip(b" \t")) for name, value in pairs)
    return tuple(pairs)


def index_of(fields: Fields) -> dict[bytes, bytes]:
    """Lower-cased name to value; the values of a repeated field joined with ``,``.

    RFC 9110 5.3: "A recipient MAY combine multiple field lines within a field section that have
    the same field name into one field line [...] by appending each subsequent field line value
    to the initial field line value in order, separated by a comma". A field that must not be
    repeated thus shows a comma, which none of their grammars accept.
    """
    index = {name.lower(): value for name, value in fields}
    if len(index) != len(fields):
        index = {}
        for name, value in fields:
            key = name.lower()
            index[key] = index[key] + b"," + value if key in index else value
    return index
