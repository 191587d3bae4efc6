"""The closed list of reasons: why a connection or a request was let through, refused or failed.

Every flow record, metric label, log line and ``explain`` answer takes its reason from here, and
nowhere else. A name is stable once released: scripts and dashboards match on it.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """One reason: its name on the wire, the HTTP status it answers with, and what it means.

    ``status`` is None where no HTTP answer belongs to the reason: requests that are served, and
    L3/L4 refusals, which are a failed ``connect()`` or a reset.
    """

    status: int | None
    meaning: str

    def __new__(cls, name: str, status: int | None, meaning: str) -> Reason:
        member = object.__new__(cls)
        member._value_ = name
        member.status = status
        member.meaning = meaning
        return member

    def __str__(self) -> str:
        return str(self.value)

    # Served.
    NO_POLICY = "no-policy", None, "no policy selects either side in this direction"
    L4_ALLOWED = "l4-allowed", None, "an L3/L4 rule allows the connection and no HTTP rule applies"
    SAME_WORKLOAD = "same-workload", None, "a workload talks to itself, which no policy concerns"
    HTTP_RULES = "http-rules", None, "the connection is allowed; HTTP rules decide each request"
    RULE_ALLOWED = "rule-allowed", None, "an HTTP rule allows the request"
    RULE_FORWARDED = "rule-forwarded", None, "an HTTP rule forwards the request to another backend"
    DEFAULT_ALLOWED = "default-allowed", None, "no rule matched and default deny is off"

    # Refused at L3/L4.
    L4_DENY_RULE = "l4-deny-rule", None, "an ingressDeny or egressDeny rule matches"
    L4_DEFAULT_DENY = "l4-default-deny", None, "default deny is on and no rule allows peer and port"
    L4_REFUSED = "l4-refused", None, "refused at L3/L4 by the kernel, which keeps no rule's name"
    NOT_READY = "not-ready", 503, "no policy set has been loaded yet"

    # Refused at L7.
    RULE_BLOCKED = "rule-blocked", 403, "a block rule matches"
    NO_RULE_MATCHED = "no-rule-matched", 403, "HTTP rules apply and none of them matches"

    # Malformed or ambiguous requests.
    BAD_REQUEST_LINE = "bad-request-line", 400, "the request line is not method, target, version"
    BAD_TARGET = "bad-target", 400, "the request target has a form or a byte that is not allowed"
    BAD_PATH_ENCODING = "bad-path-encoding", 400, "a percent sign without two hex digits, or %00"
    BAD_LINE_END = "bad-line-end", 400, "a bare CR or a bare LF ends or breaks a line"
    BAD_HEADER_NAME = "bad-header-name", 400, "a header name is empty, not a token, or before space"
    BAD_HEADER_VALUE = "bad-header-value", 400, "a header value holds NUL or a control byte"
    LINE_FOLDING = "line-folding", 400, "obsolete line folding"
    BAD_HOST = "bad-host", 400, "Host is missing, repeated, not an authority, or not the target's"
    BAD_CONTENT_LENGTH = "bad-content-length", 400, "Content-Length is not one plain number"
    LENGTH_AND_CODING = "length-and-coding", 400, "Content-Length together with Transfer-Encoding"
    CODING_ON_HTTP10 = "coding-on-http10", 400, "Transfer-Encoding on an HTTP/1.0 request"
    BAD_CHUNK = "bad-chunk", 400, "the chunked framing of the body is broken"
    BAD_TRAILER = "bad-trailer", 400, "a trailer field is malformed"
    BYTES_BEFORE_UPGRADE = "bytes-before-upgrade", 400, "bytes follow an Upgrade not yet accepted"
    NOT_HTTP = "not-http", 400, "TLS, an HTTP/2 preface or something else that is not HTTP/1"
    PATH_NOT_NORMAL = "path-not-normal", 400, "a path that the kernel does not normalise"
    ABSOLUTE_FORM = "absolute-form", 400, "a whole URI as target, which the kernel does not take"
    UNDECIDABLE_HEADER = (
        "undecidable-header",
        400,
        "a header that rules look at is repeated or named by Connection: not for the kernel",
    )
    METHOD_CONNECT = "method-connect", 405, "CONNECT is not served"
    TARGET_TOO_LONG = "target-too-long", 414, "the request target is longer than the limit"
    HEAD_TOO_LARGE = "head-too-large", 431, "the head is larger or has more fields than the limit"
    BAD_CODING = "bad-coding", 501, "Transfer-Encoding is not exactly chunked"
    BAD_VERSION = "bad-version", 505, "the HTTP version is not 1.0 or 1.1"
    ESCAPED_SLASH = "escaped-slash", 307, "%2F or %5C in the path: sent to its unescaped form"
    HEAD_TIMEOUT = "head-timeout", 408, "the request head did not arrive in time"
    BODY_TIMEOUT = "body-timeout", 408, "the request body stopped arriving"

    # The proxy's own trouble, and the upstream's.
    OVERLOADED = "overloaded", 503, "the limit of connections is reached"
    NO_BACKEND = "no-backend", 503, "no workload matches the backend of the forward rule"
    UPSTREAM_REFUSED = "upstream-refused", 503, "the backend could not be reached"
    UPSTREAM_CLOSED = "upstream-closed", 502, "the backend closed before its response was whole"
    UPSTREAM_NOT_HTTP = "upstream-not-http", 502, "the backend's response is not valid HTTP/1"
    UPSTREAM_TIMEOUT = "upstream-timeout", 504, "the backend was silent past the limit"
    UNANSWERED = "unanswered", None, "the connection ended before the server had answered"
    CONNECTION_RESET = "connection-reset", None, "reset: the kernel could not go on with its bytes"
    CLIENT_CLOSED = "client-closed", None, "the client went away before its response was whole"
    INTERNAL = "internal", 500, "a fault in the proxy itself; the request was not served"


BACKEND_FAULTS = (
    Reason.UPSTREAM_REFUSED,
    Reason.UPSTREAM_CLOSED,
    Reason.UPSTREAM_NOT_HTTP,
    Reason.UPSTREAM_TIMEOUT,
)
"""Those that a backend is to blame for."""

POLICY_DENIALS = (
    Reason.RULE_BLOCKED,
    Reason.NO_RULE_MATCHED,
    Reason.L4_DENY_RULE,
    Reason.L4_DEFAULT_DENY,
)
"""Those that only a change of policies takes away."""
