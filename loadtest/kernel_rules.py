"""The rules of the kernel road's section, and the heads that are judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtest.peers import PATH_RULE

RULE = {"method": "GET", "path": PATH_RULE}
UPLOAD_RULE = {"method": "POST", "path": "/upload(/.*)?"}
TARGET = "/users/7"
REFUSED = ("DELETE", "/users/1")
"""A request that no rule allows, and that the server alone answers as it does TARGET."""
MANY = 1000
LONG_HEAD = 600

_NOUNS = (
    *("accounts", "articles", "baskets", "bookings", "campaigns", "cards", "catalogs", "chats"),
    *("comments", "contracts", "coupons", "devices", "documents", "events", "exports", "feeds"),
    *("files", "folders", "groups", "images", "invoices", "items", "jobs", "labels", "licences"),
    *("mails", "meters", "notes", "orders", "parcels", "payments", "places", "plans", "prices"),
)
# As people write them: lists, one thing, what belongs to it, files, and everything below.
_SHAPES = (
    ("GET|HEAD", "/api/v{version}/{noun}"),
    ("GET", "/api/v{version}/{noun}/[0-9]+"),
    ("PUT|PATCH", "/api/v{version}/{noun}/[0-9]+/{part}"),
    ("POST", "/api/v{version}/{noun}/(search|export|{part})"),
    ("DELETE", "/api/v{version}/{noun}/[^/]+"),
    ("GET", "/static/{noun}/v{version}/[a-z0-9_-]+\\.(png|jpg|css)"),
    ("GET", "/internal/{noun}/{version}(/.*)?"),
)


def many(count: int = MANY) -> list[dict[str, str]]:
    """So many rules, up to MANY; the one that matches TARGET is in their middle."""
    others = (
        {"method": method, "path": shape.format(noun=noun, part=part, version=version)}
        for version in range(1, MANY)
        for noun, part in zip(_NOUNS, (*_NOUNS[1:], _NOUNS[0]), strict=True)
        for method, shape in _SHAPES
    )
    made = [next(others) for _ in range(count - 1)]
    made.insert(count // 2, RULE)
    return made


Rules = list[dict[str, str]]


def policy(near: Mapping[int, Rules], far: Mapping[int, Rules]) -> dict[str, Any]:
    """What app=users serves on each port: to app=client, and to clients outside the node."""
    ingress: list[dict[str, Any]] = [
        {
            **peers,
            "toPorts": [
                {"ports": [{"port": str(port)}], "rules": {"http": rules}}
                for port, rules in ports.items()
            ],
        }
        for peers, ports in (
            ({"fromEndpoints": [{"matchLabels": {"app": "client"}}]}, near),
            ({"fromEntities": ["world"]}, far),
        )
    ]
    return {
        "apiVersion": "l7proxy.io/v1alpha1",
        "kind": "L7Policy",
        "metadata": {"name": "bench-kernel"},
        "spec": {"endpointSelector": {"matchLabels": {"app": "users"}}, "ingress": ingress},
    }


def long_head(host: str) -> tuple[str, ...]:
    """Header lines of a browser, with which wrk's head for TARGET has LONG_HEAD bytes."""
    lines = [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
        "Accept-Encoding: gzip, deflate, br",
        "Referer: http://shop.example/catalog/lamps",
        "X-Request-Id: 7f3c0a52-8d0e-4d8e-9a55-0b1f6f0d6c11",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Cookie: session=",
    ]
    head = "\r\n".join([f"GET {TARGET} HTTP/1.1", f"Host: {host}", *lines, "", ""])
    lines[-1] += ("0123456789abcdef" * LONG_HEAD)[: LONG_HEAD - len(head)]
    return tuple(lines)
