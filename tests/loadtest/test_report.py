"""The files of a report, and what is read from them again."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from loadtest import bench, machine, progress, report_folder, result
from loadtest.found import Comparison, Curves, Found, Row
from loadtest.rounds import RATIO, Aim, Claim, Series, interleave, ratio_of_medians

RATES = [Series("direct", "req/s", (100.0, 110.0)), Series("kernel", "req/s", (150.0, 99.0))]
CLAIMS = [
    Claim(Series("loopback: kernel / direct", RATIO, (1.5, 0.9)), Aim(1.3)),
    Claim(Series("kernel / Envoy 1.40", RATIO, (12.0,)), Aim(10.0)),
    Claim(Series("userspace / direct", RATIO, (0.2,))),
    Claim(
        Series("loopback, p99: kernel / direct, of medians", RATIO, (1.1,), (0.8, 1.4)),
        Aim(1.0, at_least=False),
    ),
    Claim(Series("memory", "bytes", (21000.0,)), Aim(30000.0, at_least=False)),
]
ABOUT = {
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpus": 2},
    "versions": {"nginx": "1.22.1"},
    "settings": {"only": ("kernel", "idle"), "cases": ""},
    "warnings": ["left out | <all>"],
}


def test_a_report_keeps_every_round_and_is_read_again_as_it_was(tmp_path: Path) -> None:
    report_folder.write(tmp_path / "report", Found(RATES, CLAIMS), ABOUT)
    path = tmp_path / "report" / report_folder.JSON
    document = json.loads(path.read_text())
    assert document["machine"] == {"cpus": 2}
    assert document["measured"][1]["rounds"] == [150.0, 99.0]
    assert [each["met"] for each in document["promised"]] == [False, True, None, False, True]
    assert result.read(path) == CLAIMS


def test_every_ratio_is_in_one_plot_and_other_claims_in_none(tmp_path: Path) -> None:
    report_folder.write(tmp_path, Found(RATES, CLAIMS), ABOUT)
    rows = {path.name: path.read_text().count("<g ") for path in sorted(tmp_path.glob("*.svg"))}
    assert rows == {"direct.svg": 2, "latency.svg": 1, "others.svg": 1}
    report_folder.write(tmp_path, Found(RATES, CLAIMS[:1]), ABOUT)
    assert [path.name for path in tmp_path.glob("*.svg")] == ["direct.svg"]


def test_comparisons_and_curves_are_drawn_and_tabled(tmp_path: Path) -> None:
    def series(*values: float) -> Series:
        return Series("a series", "unit", values)

    rows = {
        "direct": Row(
            series(9000.0), {"p50": series(7.0)}, series(10.5), {"client": series(4.0)}, None
        ),
        "kernel": Row(
            series(8000.0),
            {"p50": series(6.0)},
            series(11.5),
            {"client": series(4.0), "server": series(3.0), "proxy": series(0.5)},
            series(99e6),
        ),
    }
    lines = {"direct": (series(1.0, 3.0), series(5000.0))}
    found = Found(
        comparisons=[Comparison("peers-loopback.svg", "Side by side", rows)],
        curves=[Curves("connections.svg", "By connections", "connections", (1, 4096), lines)],
    )
    report_folder.write(tmp_path, found, ABOUT)
    text = (tmp_path / report_folder.MARKDOWN).read_text()
    assert "| direct | 9,000 | 7.00 | 10.50 | 4.00 |  |  |  |" in text
    assert "| kernel | 8,000 | 6.00 | 11.50 | 4.00 | 3.00 | 0.50 | 99.00 |" in text
    assert "| requests a second | 1 | 4,096 |" in text
    assert "| direct | 2.00 | 5,000 |" in text
    for image in ("peers-loopback.svg", "connections.svg"):
        assert f"]({image})" in text
        assert (tmp_path / image).read_text().startswith("<svg")
    report_folder.write(tmp_path, Found(RATES, CLAIMS[:1]), ABOUT)
    assert [path.name for path in tmp_path.glob("*.svg")] == ["direct.svg"]


def test_the_tables_say_what_was_won_lost_and_left_out(tmp_path: Path) -> None:
    text = report_folder.markdown(Found(RATES, CLAIMS), ABOUT)
    assert "2 of 4 ratios are wins, and 2 of 4 aims are met." in text
    assert "| loopback: kernel / direct | 1.20 | 0.90 | 1.50 | >= 1.3 | MISSED |" in text
    assert "| userspace / direct | 0.20 | 0.20 | 0.20 |  |  |" in text
    assert "| loopback, p99: kernel / direct, of medians | 1.10 | 0.80 | 1.40 |" in text
    assert "| memory (bytes) | 21,000 |" in text
    assert "| direct | req/s | 105.00 | 100.00 | 110.00 |" in text
    assert "| versions: nginx | 1.22.1 |" in text
    assert "| settings: only | kernel, idle |" in text
    assert "settings: cases" not in text
    assert "**left out \\| &lt;all>**" in text


def test_a_bar_is_one_line_however_long_its_text_is() -> None:
    terminal = StringIO()
    console = Console(file=terminal, width=60, force_terminal=True, color_system=None)
    with progress.shown(console, 4, 30.0) as tell:
        tell("installing " + "something " * 20)
    lines = terminal.getvalue().splitlines()
    (last,) = (line for line in lines if "installing" in line)
    assert "0/4 about 0:02:00 left installing" in last
    assert "…" in last


def test_the_spread_of_a_ratio_of_medians_is_that_of_the_rounds() -> None:
    above, below = Series("a", "us", (9.0, 2.0, 4.0)), Series("b", "us", (1.0, 8.0, 2.0))
    assert ratio_of_medians(above, below).spread == (0.25, 9.0)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"promised": [{"name": "a"}]}', '{"promised": 7}', "\xff"]
)
def test_a_file_that_is_no_report_is_an_error_of_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    done = CliRunner().invoke(bench.main, ["--against", str(path)])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {path}: not a report of a benchmark: ")
    assert done.output.count("\n") == 1


def test_a_report_that_is_not_there_is_an_error_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(bench.main, ["--against", str(tmp_path / "no")])
    assert (done.exit_code, done.output) == (
        1,
        f"Error: {tmp_path / 'no'}: No such file or directory; make bench writes one\n",
    )


@pytest.mark.parametrize(
    ("now", "exit_code", "said"),
    [
        ([Claim(Series("kernel / Envoy 1.40", RATIO, (11.5,)))], 0, "as then"),
        ([Claim(Series("kernel / Envoy 1.40", RATIO, (9.0,)))], 1, "LOSS"),
        ([Claim(Series("another / direct", RATIO, (9.0,)))], 1, "nothing was measured that"),
    ],
)
def test_a_run_that_is_held_against_a_report_fails_on_a_loss_and_leaves_the_report(
    now: list[Claim], exit_code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report_folder.write(tmp_path, Found(RATES, CLAIMS), ABOUT)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(bench, "_run", lambda console, settings, warn: Found(RATES, now))
    argv = ["--only", "kernel", "--against", str(tmp_path / report_folder.JSON)]
    done = CliRunner().invoke(bench.main, argv)
    assert done.exit_code == exit_code
    assert said in done.output
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_writes_its_report_with_machine_versions_and_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(console: Console, settings: bench.Settings, warn: Callable[[str], None]) -> Found:
        warn("this is not the kernel road")
        return Found(RATES, CLAIMS)

    monkeypatch.setattr(bench, "_run", run)
    done = CliRunner().invoke(bench.main, ["--rounds", "2", "--report", str(tmp_path / "new")])
    assert done.exit_code == 0
    document = json.loads((tmp_path / "new" / report_folder.JSON).read_text())
    assert document["machine"]["cpus"] >= 1
    assert document["versions"]["Python"] == platform.python_version()
    assert document["settings"]["rounds"] == 2
    assert document["warnings"] == ["this is not the kernel road"]
    assert "**this is not the kernel road**" in (tmp_path / "new" / "report.md").read_text()


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("nginx version: nginx/1.22.1\n", "1.22.1"),
        ("wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer", "4.1.0-3+b2"),
        ("HAProxy version 2.6.12-1+deb12u3 2025/10/03 - https://haproxy.org/", "2.6.12-1+deb12u3"),
        ("envoy  version: 9e5580933739775e8bce/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
        ("/opt/bench-3.1/bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
        ("Mitmproxy: 12.1.2\nPython:    3.11.2", "12.1.2"),
        ("", machine.UNKNOWN),
    ],
)
def test_the_version_is_found_in_what_a_program_says(said: str, version: str) -> None:
    assert machine.version_in(said) == version


def test_lines_or_a_bar_with_how_many_measurements_are_done() -> None:
    plain, terminal = StringIO(), StringIO()
    consoles = (
        Console(file=plain, width=100),
        Console(file=terminal, width=100, force_terminal=True),
    )
    for console in consoles:
        with progress.shown(console, 4, 30.0) as tell:
            interleave({"[a]": lambda: 1.0, "b": lambda: 2.0}, 2, "x", tell)
    assert plain.getvalue().splitlines() == [
        "... round 1 of 2: [a]",
        "... round 1 of 2: b",
        "... round 2 of 2: b",
        "... round 2 of 2: [a]",
    ]
    assert "about 0:02:00 left" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()
    assert "round 2 of 2: [a]" in terminal.getvalue()
