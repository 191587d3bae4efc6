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
SHAPES = (
    "/v1/{a}/{b}{n}",
    "/v2/{a}{n}/[^/]+",
    "/{a}/{b}{n}(/.*)?",
    "/api/{a}{n}/({b}|{c}|x{n})",
    "^/v1/{a}{n}/[0-9]+/{b}$",
    "/{a}{n}/.*",
    r"/static/{a}{n}/[a-z0-9_-]+\.(png|jpg|css)",
    r"/{a}/{n}/.*\.json",
)
METHODS = ("GET", "GET", "POST", "PUT", "DELETE", "GET|HEAD", None)


def mixed_rules(count: int) -> list[Pair]:
    """Rules as people write them, always the same for the same ``count``."""
    chosen = random.Random(count)
    return [
        (
            chosen.choice(METHODS),
            chosen.choices(SHAPES, weights=(30, 20, 15, 10, 10, 7, 6, 2))[0].format(
                a=chosen.choice(WORDS), b=chosen.choice(WORDS), c=chosen.choice(WORDS), n=number
            ),
        )
        for number in range(count)
    ]


def example_of(path: str) -> str:
    """A value that the path of one of the shapes matches."""
    for operator, text in (
        *(("^", ""), ("$", ""), ("[^/]+", "a"), ("(/.*)?", "/x"), (".*", "a"), ("[0-9]+", "7")),
        *(("[a-z0-9_-]+", "a"), ("(png|jpg|css)", "css"), ("\\.", ".")),
    ):
        path = path.replace(operator, text)
    return path.split("(")[0] + path[path.find("(") + 1 : path.find("|")] if "(" in path else path


@pytest.mark.parametrize("count", [1, 100, 1000])
def test_many_rules_make_one_table(count: int) -> None:
    rules = mixed_rules(count)
    started = time.process_time()
    table = method_and_path(rules)
    spent = time.process_time() - started
    print(
        f"{count} rules: {spent:.3f} s, {table.states} states, {table.width} classes,"
        f" {table.table_bytes} bytes"
    )
    for number in range(0, count, max(1, count // 60)):
        value = example_of(rules[number][1] or "")
        assert patterns.matcher(rules[number][1] or "")(value.encode())
        for method in ("GET", "POST"):
            expected = sum(
                1 << at
                for at, (of_method, of_path) in enumerate(rules)
                if (of_method is None or patterns.matcher(of_method)(method.encode()))
                and (of_path is None or patterns.matcher(of_path)(value.encode()))
            )
            assert table.match(f"{method} {value}".encode()) == expected
