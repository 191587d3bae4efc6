"""As many rules as one port may have: the table stays small, is right, and how long it took."""

from __future__ import annotations

import random
import time

import pytest

from l7proxy.compiler.fields import Pair, method_and_path
from l7proxy.policy import patterns

WORDS = (
    *("users", "orders", "items", "carts", "payments", "auth"),
    *("admin", "reports", "search", "images", "events", "teams"),
)
# How often a shape occurs, the shape, and a path that it matches.
SHAPES = (
    (30, "/v1/{a}/{b}{n}", "/v1/{a}/{b}{n}"),
    (20, "/v2/{a}{n}/[^/]+", "/v2/{a}{n}/x"),
    (15, "/{a}/{b}{n}(/.*)?", "/{a}/{b}{n}/x/y"),
    (10, "/api/{a}{n}/({b}|{c}|x{n})", "/api/{a}{n}/{c}"),
    (10, "^/v1/{a}{n}/[0-9]+/{b}$", "/v1/{a}{n}/007/{b}"),
    (7, "/{a}{n}/.*", "/{a}{n}/"),
    (6, r"/static/{a}{n}/[a-z0-9_-]+\.(png|jpg|css)", "/static/{a}{n}/logo_1.png"),
    (2, r"/{a}/{n}/.*\.json", "/{a}/{n}/x/y.json"),
)
METHODS = ("GET", "GET", "POST", "PUT", "DELETE", "GET|HEAD", None)


def mixed_rules(count: int) -> tuple[list[Pair], list[str]]:
    """Rules as people write them, and a path for each; the same ones for the same ``count``."""
    chosen = random.Random(count)
    rules: list[Pair] = []
    paths = []
    for number in range(count):
        _, shape, path = chosen.choices(SHAPES, weights=[weight for weight, *_ in SHAPES])[0]
        words = dict(zip("abc", chosen.choices(WORDS, k=3), strict=True))
        rules.append((chosen.choice(METHODS), shape.format(n=number, **words)))
        paths.append(path.format(n=number, **words))
    return rules, paths


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_many_rules_make_one_table(count: int) -> None:
    rules, paths = mixed_rules(count)
    started = time.process_time()
    table = method_and_path(rules)
    spent = time.process_time() - started
    print(
        f"{count} rules: {spent:.3f} s, {table.states} states, {table.width} classes,"
        f" {table.table_bytes} bytes"
    )
    for number in range(0, count, max(1, count // 60)):
        value = paths[number].encode()
        for method in (b"GET", b"POST"):
            expected = sum(
                1 << at
                for at, (of_method, of_path) in enumerate(rules)
                if (of_method is None or patterns.matcher(of_method)(method))
                and patterns.matcher(of_path or "")(value)
            )
            assert table.match(method + b" " + value) == expected
        assert patterns.matcher(rules[number][1] or "")(value)
