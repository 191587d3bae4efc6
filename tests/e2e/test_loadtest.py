"""The benchmark's own arithmetic, and that it takes no failing run for a result."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from l7proxy.demo import servers
from l7proxy.demo.places import Place
from loadtest import (
    kernel_road,
    kernel_rules,
    peer_cases,
    peers,
    probes,
    processes,
    side_by_side,
    uploads,
    wrk,
)
from loadtest.answers import AnswerError, Check
from loadtest.progress import Lines
from loadtest.rounds import Aim, Claim, Series, interleave, ratio, ratio_of_medians
from tests.kernel_road.recorder import Recorder

HOST = "127.0.0.1"
SMOKE = r"^(loopback|client outside|refused|upload 1 MB, .*|memory)$"
PEERS = r"^(loopback|rules|silence)$"


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
    for count in (1, 100, kernel_rules.MANY):
        rules = kernel_rules.many(count)
        assert len({(rule["method"], rule["path"]) for rule in rules}) == count
        assert rules.index(kernel_rules.RULE) == count // 2
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
        assert wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/bad", refused=100), 0.2) > 0
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{port}/good", refused=100), 0.2)
        with pytest.raises(wrk.WrkError):
            wrk.rate(wrk.Load(place, f"http://{HOST}:{servers.free_port(HOST)}/"), 0.2)


@pytest.mark.needs_command("nginx", "wrk")
@pytest.mark.parametrize("share", peer_cases.SWEEPS["refused share"].levels)
def test_wrk_mixes_requests_in_the_share_that_it_is_told(share: int, tmp_path: Path) -> None:
    body = "location /bad { if ($request_method = PUT) { return 403; } } location / { return 200; }"
    port = servers.free_port(HOST)
    with Place("bench") as place:
        servers.nginx(place, tmp_path, [(HOST, port)], body=body)
        url = f"http://{HOST}:{port}/good"
        mix = wrk.Mix(share, "PUT", "/bad")
        found = wrk.run(wrk.Load(place, url, connections=4, mix=mix, refused=share), 0.3)
        assert found.requests > 100
        assert found.refused == pytest.approx(found.requests * share / 100, abs=4)
        with pytest.raises(wrk.WrkError, match="errors"):
            wrk.run(wrk.Load(place, url, connections=4, mix=mix, refused=abs(share - 25)), 0.3)


@pytest.mark.needs_command("wrk")
def test_wrk_sends_requests_that_are_unlike_each_other() -> None:
    with Place("bench") as place, Recorder(place.listen(HOST, 0)) as server:
        url = f"http://{HOST}:{server.address[1]}/a"
        assert wrk.run(wrk.Load(place, url, connections=2, unlike=50), 0.3).requests > 100
        sent = [request for record in server.records for request in record.requests]
    targets = {request.target for request in sent}
    assert len(targets) == len({request.fields["x-request-id"] for request in sent}) == 50
    assert all(target.startswith("/a/") for target in targets)
    assert len({len(target) for target in targets}) > 10


@pytest.mark.needs_command("nginx", "wrk")
def test_what_requests_cost_is_told_apart_and_all_of_it_is_the_machines(tmp_path: Path) -> None:
    port = servers.free_port(HOST)
    with Place("bench") as place:
        server = servers.nginx(place, tmp_path, [(HOST, port)], body="return 200 good;")
        # nginx's master has workers: what is measured is theirs.
        groups = {probes.SERVER: server.process.pid, probes.PROXY: server.process.pid}
        probe = probes.Metered(wrk.Load(place, f"http://{HOST}:{port}/"), groups)
        assert probe.measure(0.5) > 0
        (result,) = probe.results
        assert result.p50 <= result.p99 <= result.p999
        cpu = {group: values[0] for group, values in probe.cpu.items()}
        assert min(cpu.values()) > 0
        assert cpu[probes.CLIENT] + cpu[probes.SERVER] < cpu[probes.MACHINE] * 1.2
        assert probe.memory[0] > 1 << 20


def test_a_machine_of_which_every_processor_works_was_busy_all_the_time() -> None:
    processors = os.cpu_count() or 1
    work = f"{sys.executable} -c 'sum(range(30_000_000))' &"
    with Place("bench") as place:
        before, ended, begin = processes.busy_seconds(), processes.ended_seconds(), time.monotonic()
        done = place.run(["sh", "-c", work * processors + " wait"], timeout=120)
        assert done.returncode == 0
        spent, used = processes.busy_seconds() - before, processes.ended_seconds() - ended
        passed = time.monotonic() - begin
    assert 0 < used < spent + 0.1
    assert passed * processors * 0.6 < spent < passed * processors + 0.1


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
    start: Callable[[Place, Path, tuple[str, int], tuple[str, int]], peers.Process], tmp_path: Path
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
    found = kernel_road.measure(1, 0.2, progress, said.append, connections=20, only=SMOKE)
    assert progress.done == kernel_road.expected(1, SMOKE)
    assert all(
        value > 0
        for each in found.series
        if each.unit in ("req/s", "MB/s")
        for value in each.values
    )
    assert [claim.series.name for claim in found.claims] == [
        "loopback: kernel / direct",
        "loopback, p99: kernel / direct, of medians",
        "refused: kernel / direct",
        "refused: CPU of l7proxy for 1,000 requests",
        "client outside: kernel / direct",
        "upload 1 MB, length: kernel / direct",
        "upload 1 MB, chunked: kernel / direct",
    ]
    assert "idle connection, agent and worker" in [each.name for each in found.series]
    assert not [line for line in said if line.startswith("the agent was not well")]


@pytest.mark.needs_ebpf
@pytest.mark.needs_command("nginx", "wrk", "haproxy")
def test_the_peers_do_the_same_and_each_road_is_the_one_that_it_is_called() -> None:
    said: list[str] = []
    progress = Lines(str)
    found = side_by_side.measure(1, 0.3, progress, said.append, ebpf=True, only=PEERS)
    assert said == []
    assert progress.done == side_by_side.expected(1, PEERS, ebpf=True)
    (comparison,) = found.comparisons
    assert list(comparison.rows) == [
        "direct",
        "splice",
        "kernel",
        "proxy, transparent",
        "proxy, userspace",
        "Envoy 1.40",
        "HAProxy",
        "nginx as proxy",
        "mitmproxy",
    ]
    for name, row in comparison.rows.items():
        assert row.rate.median > 0
        assert row.busy.median > 0
        assert set(row.cpu) == {"client", "server"} | (set() if name == "direct" else {"proxy"})
        assert (row.memory is None) == (name == "direct")
    (rules,) = found.curves
    assert {name: len(line) for name, line in rules.lines.items()} == {
        "kernel": 3,
        "proxy, transparent": 3,
    }
    names = [claim.series.name for claim in found.claims]
    assert "peers, loopback: kernel / Envoy 1.40" in names
    assert "kernel: 1,000 rules / 1 rule" in names
