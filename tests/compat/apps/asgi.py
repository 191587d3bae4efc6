"""The answers as an ASGI application with a WebSocket echo, for uvicorn and hypercorn."""

from __future__ import annotations

import asyncio

from answers import answer


async def application(scope, receive, send):
    """ASGI 3; no lifespan, which an application says by an exception."""
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["type"] == "http":
        await _serve(scope, receive, send)
    else:
        raise ValueError(f"there is no {scope['type']} here")


async def _serve(scope, receive, send):
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    found = answer(scope["method"], target, fields, body)
    told = [(name.lower().encode(), value.encode()) for name, value in found.fields()]
    await send({"type": "http.response.start", "status": found.status, "headers": told})
    if scope["method"] != "HEAD":
        for part in found.parts:
            await asyncio.sleep(found.pause)
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        text = {"type": "websocket.send", "text": event["text"]}
        await send(text)
