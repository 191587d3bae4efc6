"""The parts of the matrix that run in no time: one client, one server, and what is compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l7proxy.demo.places import Place
from l7proxy.demo.servers import free_port
from tests.compat import servers
from tests.compat.clients import CLIENTS, DRIVERS
from tests.compat.comparison import Case, compare
from tests.compat.exchanges import EXCHANGES
from tests.compat.report import markdown, summary

PLAIN = next(kind for kind in servers.KINDS if kind.name == "http.server")
CURL = next(client for client in CLIENTS if client.name == "curl")
QUICK = {"get", "head", "not-found", "post", "post-chunked", "redirect", "no-content", "trailers"}
Line = dict[str, Any]


def line(status: int = 200, error: str | None = None, **fields: str) -> Line:
    headers = [[name.replace("_", "-"), value] for name, value in fields.items()]
    answer = {"status": status, "headers": headers, "length": 6, "sha256": "f"}
    return {"answers": [] if error else [answer], "error": error}


def names(way: str, exchange: str, direct: Line, got: Line) -> list[str | None]:
    return [one.name for one in compare(Case(way, "curl", exchange, direct, got))]


def test_the_same_answer_is_no_difference_but_for_its_date() -> None:
    assert not names("kernel", "get", line(date="Monday", etag="1"), line(date="Tuesday", etag="1"))


@pytest.mark.parametrize("way", ["splice", "kernel", "proxy"])
@pytest.mark.parametrize("got", [line(500), line(error="reset"), line(etag="2"), line()])
def test_another_answer_has_no_name(way: str, got: Line) -> None:
    assert None in names(way, "get", line(etag="1"), got)


def test_only_the_proxy_may_change_what_ends_at_a_hop() -> None:
    direct, got = line(connection="keep-alive"), line()
    assert names("proxy", "get", direct, got) == ["hop-by-hop"]
    assert names("kernel", "get", direct, got) == [None]


def test_a_length_stays_and_what_ends_with_the_connection_may_be_chunked() -> None:
    assert names("proxy", "get", line(content_length="6"), line(content_length="7")) == [None]
    assert names("proxy", "get", line(connection="close"), line(transfer_encoding="chunked"))


def test_a_path_that_is_not_normal_has_a_name_on_each_road() -> None:
    assert set(names("kernel", "dot-segments", line(), line(400))) == {"path-not-normal"}
    assert names("kernel", "get", line(), line(400)) == [None]
    assert names("splice", "dot-segments", line(), line(400)) == [None]


def test_the_table_shows_a_failure_and_what_it_was() -> None:
    found = compare(Case("kernel", "curl", "get", line(), line(500)))
    cells = {("nginx", "curl", road): [] for road in ("splice", "proxy")}
    cells["nginx", "curl", "kernel"] = found
    direct = {("curl", "nginx", "get"): line()}
    assert "| nginx | curl | 1 | ok | FAILED get | ok |" in markdown(cells, direct, [])
    assert "FAILED kernel: curl to nginx, get: status: 200, not 500" in summary(cells, direct)


@pytest.mark.needs_command("curl")
def test_a_client_does_its_plan_against_a_server(tmp_path: Path) -> None:
    listen = ("127.0.0.1", free_port("127.0.0.1"))
    argv = CURL.argv(tmp_path, {"plain": f"http://{listen[0]}:{listen[1]}"})
    plan = json.loads(Path(argv[-1]).read_text())
    plan["exchanges"] = [one for one in plan["exchanges"] if one["name"] in QUICK]
    Path(argv[-1]).write_text(json.dumps(plan))
    with Place("here") as here:
        servers.start(PLAIN, here, tmp_path / "server", listen, listen)
        done = subprocess.run(
            [sys.executable, str(DRIVERS / "tools.py"), "curl", argv[-1]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    lines = {one["exchange"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert {name: one["error"] for name, one in lines.items()} == dict.fromkeys(QUICK)
    statuses = {name: one["answers"][0]["status"] for name, one in lines.items()}
    assert statuses == dict.fromkeys(QUICK, 200) | {
        "not-found": 404, "redirect": 302, "no-content": 204,
    }  # fmt: skip


def test_the_set_of_exchanges_has_no_name_twice_and_is_as_large_as_promised() -> None:
    found = [one.name for one in EXCHANGES]
    assert len(set(found)) == len(found) >= 30
