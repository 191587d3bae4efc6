"""The answers as a WSGI application, for gunicorn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http import HTTPStatus

from answers import Answer, answer


def application(environ, start_response):
    """PEP 3333."""
    fields = [
        (key[5:].replace("_", "-"), value) for key, value in environ.items() if key[:5] == "HTTP_"
    ]
    if environ.get("CONTENT_TYPE"):
        fields.append(("content-type", environ["CONTENT_TYPE"]))
    body = environ["wsgi.input"].read()
    found = answer(environ["REQUEST_METHOD"], environ["RAW_URI"], fields, body)
    start_response(f"{found.status} {HTTPStatus(found.status).phrase}", found.fields())
    return [] if environ["REQUEST_METHOD"] == "HEAD" else _parts(found)


def _parts(found: Answer) -> Iterator[bytes]:
    for part in found.parts:
        time.sleep(found.pause)
        yield part
