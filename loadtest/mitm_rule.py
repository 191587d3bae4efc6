"""The benchmark's rule as a mitmproxy addon; mitmproxy loads this file by its path."""

import re

from mitmproxy import http

ALLOWED = re.compile(r"/users(/.*)?\Z")


def request(flow: http.HTTPFlow) -> None:
    """Refuse what the rule does not allow."""
    if flow.request.method != "GET" or not ALLOWED.match(flow.request.path):
        flow.response = http.Response.make(403, b"Access denied\r\n")
