"""The benchmark's own arithmetic, and that it takes no failing run for a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from l7proxy.demo import servers
from l7proxy.demo.places import Place
from loadtest import kernel_road, kernel_rules, peers, processes, uploads, wrk
from loadtest.answers import AnswerError, Check
from loadtest.progress import Lines
from loadtest.rounds import Aim, Claim, Series, interleave, ratio, ratio_of_medians

HOST = "127.0.0.1"
SMOKE = r"^(loopback|client outside|refused|many rules|upload 1 MB, .*|memory)$"


def test_rounds_are_interleaved_and_every_second_one_runs_backwards() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    measures = {name: partial(measure, name) for name in "abc"}
    found = interleave(measures, 2, "x", Lines(str))
    assert "".join(order) == "abccba"
    assert found["a"].values == (1.0, 6.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    fast, slow = Series("fast", "x", (2.0, 30.0, 4.0)), Series("slow", "x", (1.0, 10.0, 4.0))
    found = ratio(fast, slow)
    assert (found.median, found.spread) == (2.0, (1.0, 3.0))
    assert Claim(found, Aim(2.0)).met
    assert not Claim(found, Aim(2.1)).met
    assert Claim(found, Aim(2.0, at_least=False)).met


def test_a_ratio_of_medians_is_one_value() -> None:
    above, below = Series("a", "us", (9.0, 2.0, 4.0)), Series("b", "us", (1.0, 8.0, 2.0))
    assert ratio_of_medians(above, below).values == (2.0,)


def test_the_kernel_roads_rules_are_many_and_its_long_head_is_as_long_as_it_says() -> None:
    rules = kernel_rules.many()
    assert len({(rule["method"], rule["path"]) for rule in rules}) == kernel_rules.MANY
    assert rules.index(kernel_rules.RULE) == kernel_rules.MANY // 2
    lines = kernel_rules.long_head("127.0.0.1:8080")
    start = [f"GET {kernel_rules.TARGET} HTTP/1.1", "Host: 127.0.0.1:8080"]
    assert len("\r\n".join([*start, *lines, "", ""])) == kernel_rules.LONG_HEAD


def test_the_processor_time_of_descendants_counts(tmp_path: Path) -> None:
    with Place("bench") as place:
        script = "python3 -c 'while True: pass' & wait"
        process = place.popen(["timeout", "30", "sh", "-c", script])
        end = time.monotonic() + 20
        while processes.cpu_seconds(process.pid) < 0.1 and time.monotonic() < end:
            time.sleep(0.02)
        assert processes.cpu_seconds(process.pid) >= 0.1
        assert len(list(processes.tree(process.pid))) == 3


@pytest.mark.needs_command("nginx")
@pytest.mark.needs_command("wrk")
def test_wrk_measures_answers_and_refuses_a_run_with_errors(tmp_path: Path) -> None:
    body = "location /good { return 200 good; } location / { return 403; }"
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path, [(HOST, port)], body=body)
        for close in (False, True):
            assert wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/good", close), 0.2) > 0
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/bad"), 0.2)
        assert wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/bad", refused=True), 0.2) > 0
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/good", refused=True), 0.2)
        with pytest.raises(wrk.WrkError):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{servers.free_port(HOST)}/"), 0.2)


@pytest.mark.needs_command("nginx")
@pytest.mark.needs_command("wrk")
def test_wrk_sends_the_method_and_the_headers(tmp_path: Path) -> None:
    body = (
        "set $sent $request_method$http_x_one$http_x_two;"
        " location / { if ($sent != DELETEab) { return 403; } return 200 good; }"
    )
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path, [(HOST, port)], body=body)
        url = f"http://{HOST}:{port}/"
        headers = ("X-One: a", "X-Two: b")
        assert wrk.rate(wrk.Load(place, url, method="DELETE", headers=headers), 0.2) > 0
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.rate(wrk.Load(place, url, headers=headers), 0.2)


@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 65536, 200_001])
def test_uploads_of_either_coding_are_read_to_their_end(
    coding: str, size: int, tmp_path: Path
) -> None:
    port = servers.free_port(HOST)
    with Place("bench") as place:
        uploads.serve(place, tmp_path / "server", HOST, port)
        assert uploads.rate(uploads.Upload(place, HOST, port, coding, size), 0.05) > 0


@pytest.mark.needs_command("nginx")
def test_an_upload_that_is_refused_is_an_error(tmp_path: Path) -> None:
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path, [(HOST, port)], body="return 403;")
        with pytest.raises(uploads.UploadError, match="403"):
            uploads.rate(uploads.Upload(place, HOST, port, "length", 10), 0.05)


@pytest.mark.needs_command("nginx", "haproxy")
@pytest.mark.parametrize("start", [peers.start_haproxy, peers.start_nginx_proxy])
def test_other_proxies_have_the_same_rule(
    start: Callable[[Place, Path, tuple[str, int], tuple[str, int]], None], tmp_path: Path
) -> None:
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path / "server", [(HOST, port)], body="return 200 good;")
        listen = (HOST, servers.free_port(HOST))
        start(place, tmp_path / "proxy", listen, (HOST, port))
        for method, target, status in (
            ("GET", "/users", 200),
            ("GET", "/users/7?x=/admin", 200),
            ("GET", "/%75sers//7", 200),
            ("DELETE", "/users/7", 403),
            ("GET", "/usersx", 403),
            ("GET", "/x/users", 403),
            ("GET", "/users/../admin", 403),
            ("GET", "/users/%2e%2e//admin", 403),
        ):
            Check(place, *listen, method, target, status)()
        with pytest.raises(AnswerError, match="answered 200, and it was: 403"):
            Check(place, *listen, "GET", "/admin", 200)()


@pytest.mark.needs_ebpf
@pytest.mark.needs_command("nginx", "wrk")
def test_the_kernel_roads_section_measures_what_it_promises() -> None:
    said: list[str] = []
    progress = Lines(str)
    series, claims = kernel_road.measure(1, 0.2, progress, said.append, connections=20, only=SMOKE)
    assert progress.done == kernel_road.expected(1, SMOKE)
    assert all(
        value > 0 for each in series if each.unit in ("req/s", "MB/s") for value in each.values
    )
    assert [claim.series.name for claim in claims] == [
        "loopback: kernel / direct",
        "loopback, p99: kernel / direct, of medians",
        "refused: kernel / direct",
        "refused: CPU of l7proxy for 1,000 requests",
        "client outside: kernel / direct",
        "many rules: 1,000 rules / 1 rule",
        "upload 1 MB, length: kernel / direct",
        "upload 1 MB, chunked: kernel / direct",
    ]
    assert "idle connection, agent and worker" in [each.name for each in series]
    assert not [line for line in said if line.startswith("the agent was not well")]
