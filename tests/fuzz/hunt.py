"""One hunt: a target, some time, and what came of it in ``build/fuzz/TARGET``."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
_PREFIXES = ("fault-", "timeout-", "oom-", "crash-")
_MARGIN = 120
"""Seconds beyond a hunt's time in which it must have ended."""
_MEGABYTES = 4096
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_STATE = re.compile(r"^#(\d+)\s.*?cov: (\d+) ft: \d+ corp: (\d+)/", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """An input that shows a fault, what it shows in one line, and how to see that again."""

    input: Path
    said: str
    command: str


@dataclass(frozen=True)
class Result:
    """``coverage`` counts edges of instrumented code, ``corpus`` the inputs that reach something
    new. ``seconds`` is how long it was meant to last."""

    name: str
    executions: int
    seconds: float
    coverage: int
    corpus: int
    findings: tuple[Finding, ...]


def hunt(name: str, target: Target, seconds: int) -> Result:
    """Lets atheris make inputs for as long as it is told; the corpus of earlier hunts is used.

    Raises RuntimeError where the process ended and left no finding.
    """
    folder = BUILD / name
    seeds, corpus = folder / "seeds", folder / "corpus"
    for each in (seeds, corpus):
        each.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    for old in _inputs(folder):
        old.unlink()
        old.with_name(f"{old.name}.txt").unlink(missing_ok=True)
    words = folder / "tokens.dict"
    words.write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens))
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(folder)]
    command += [f"-max_total_time={seconds}", f"-max_len={target.most_bytes}"]
    command += [f"-timeout={target.seconds}", f"-rss_limit_mb={_MEGABYTES}", f"-dict={words}"]
    command += [f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus), str(seeds)]
    log = folder / "log"
    with log.open("wb") as stream:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            stdout=stream,
            stderr=stream,
            timeout=seconds + _MARGIN,
            check=False,
        )
    findings = tuple(_finding(name, target, each) for each in _inputs(folder))
    if ended.returncode != 0 and not findings:
        raise RuntimeError(f"{name}: ended with {ended.returncode}, see {log}")
    return _result(name, log.read_text(errors="replace"), seconds, findings)


def _result(name: str, log: str, seconds: float, findings: tuple[Finding, ...]) -> Result:
    states = _STATE.findall(log)
    last = states[-1] if states else ("0", "0", "0")
    executed = _EXECUTED.search(log)
    executions = int(executed[1]) if executed else int(last[0])
    return Result(name, executions, seconds, int(last[1]), int(last[2]), findings)


def _inputs(folder: Path) -> list[Path]:
    return sorted(
        each
        for each in folder.iterdir()
        if each.name.startswith(_PREFIXES) and each.suffix != ".txt"
    )


def _finding(name: str, target: Target, path: Path) -> Finding:
    told = path.with_name(f"{path.name}.txt")
    if told.exists():
        said = told.read_text().strip().splitlines()[-1]
    elif path.name.startswith("timeout-"):
        said = f"takes more than {target.seconds} s"
    else:
        said = "ends the process"
    place = shlex.quote(str(path.relative_to(ROOT)))
    return Finding(path, said, f"python -m tests.fuzz {name} --input {place}")


def _quoted(token: bytes) -> str:
    """A token as libFuzzer's dictionaries have it."""
    return "".join(
        chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in token
    )
