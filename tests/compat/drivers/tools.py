"""curl, wget, wrk, ab and h2load doing a plan: python tools.py CLIENT PLAN.json."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from python_clients import A_LITTLE, PAUSE, answer, content, parts, tasks, tell

TIMEOUT = 20


class Failed(Exception):
    pass


def curl(version):
    def ask(url, exchange, folder):
        argv = ["curl", "-sS", version, "--path-as-is", "-m", "10", "-D", str(folder / "heads")]
        argv += _fields(exchange, "-H")
        argv += ["-I"] if exchange["method"] == "HEAD" else ["-X", exchange["method"]]
        if exchange["early"]:
            return [_early([*argv, url], folder)]
        if exchange["slow"]:
            argv += ["-T", "-"]
        elif exchange["body"]:
            (folder / "body").write_bytes(content(exchange["body"]))
            argv += ["--data-binary", f"@{folder}/body", "-H", "Content-Type: text/plain"]
            argv += ["-H", "Transfer-Encoding: chunked"] if exchange["chunked"] else []
        argv += ["-H", "Expect: 100-continue"] if exchange["expect"] else []
        for number in range(exchange["times"]):
            argv += ["-o", str(folder / f"got{number}"), url]
        _run(argv, exchange)
        heads = [head for head in _heads((folder / "heads").read_bytes()) if head[0] >= 200]
        got = [folder / f"got{number}" for number in range(exchange["times"])]
        no_content = exchange["method"] == "HEAD"
        bodies = [b"" if no_content or not path.exists() else path.read_bytes() for path in got]
        return [answer(*head, body) for head, body in zip(heads, bodies, strict=True)]

    return ask


def wget(url, exchange, folder):
    log, got = folder / "log", folder / "got"
    argv = ["wget", "-S", "-o", str(log), "--max-redirect=0", "--tries=1", "--timeout=10"]
    argv += ["--content-on-error", f"--method={exchange['method']}", *_fields(exchange, "--header")]
    if exchange["body"]:
        (folder / "body").write_bytes(content(exchange["body"]))
        argv.append(f"--body-file={folder}/body")
    done = subprocess.run(
        [*argv, *["-O", str(got), *[url] * exchange["times"]]], check=False, timeout=TIMEOUT
    )
    lines = log.read_text(errors="replace").splitlines()
    heads = _heads("\n".join(line[2:] for line in lines if line[:2] == "  ").encode())
    body = got.read_bytes() if got.exists() else b""
    if not heads:
        raise Failed(f"wget: exit {done.returncode}")
    return [answer(*heads[0], body), *(answer(*head, b"", early=True) for head in heads[1:])]


def load(argv, failed):
    """Only that no request failed. ``failed`` finds what counts them in the output."""

    def ask(url, exchange, folder):
        done = subprocess.run([*argv, url], capture_output=True, text=True, check=False, timeout=60)
        bad = [line.strip() for line in failed.findall(done.stdout) if line.strip()]
        if done.returncode or bad:
            raise Failed(f"{argv[0]}: exit {done.returncode} {bad}")
        return [{"status": "all succeeded"}]

    return ask


CLIENTS = {
    "curl": curl("--http1.1"),
    "curl-1.0": curl("--http1.0"),
    "wget": wget,
    "wrk": load(
        ["wrk", "-d1", "-t1", "-c4"],
        re.compile(r"Non-2xx.*|Socket errors:.*|^ +0 requests in.*", re.MULTILINE),
    ),
    "ab": load(
        ["ab", "-q", "-k", "-n200", "-c4"],
        re.compile(r"Failed requests: +[1-9].*|Non-2xx.*|Write errors: +[1-9].*"),
    ),
    "h2load": load(
        ["h2load", "--h1", "-n200", "-c4"],
        re.compile(r"[1-9]\d* (?:failed|errored|timeout)|^.*[^,] 0 succeeded"),
    ),
}


def _fields(exchange, option):
    return [word for field in exchange["headers"].items() for word in (option, ": ".join(field))]


def _run(argv, exchange):
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            if exchange["slow"]:
                for part in parts({**exchange, "slow": False}):
                    time.sleep(PAUSE)
                    process.stdin.write(part)
                    process.stdin.flush()
            process.stdin.close()
        except BrokenPipeError:
            pass
        if code := process.wait(TIMEOUT):
            raise Failed(f"curl: exit {code}")


def _early(argv, folder):
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.read(A_LITTLE)
        process.kill()
    return answer(*_heads((folder / "heads").read_bytes())[-1], b"", early=True)


def _heads(text):
    """Status and fields of each head in what curl or wget wrote down; trailers are left out."""
    found = []
    for line in text.decode("latin-1").splitlines():
        if match := re.match(r"HTTP/1\.\d (\d{3})", line):
            found.append((int(match[1]), []))
        elif ":" in line and found:
            name, value = line.split(":", 1)
            found[-1][1].append((name, value.strip()))
    return found


def main(client, plan):
    for server, base, exchange in tasks(plan):
        found, error = [], None
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = CLIENTS[client](base + exchange["target"], exchange, Path(folder))
            except (Failed, subprocess.TimeoutExpired, ValueError, IndexError) as problem:
                error = str(problem) if isinstance(problem, Failed) else type(problem).__name__
        tell(server, exchange, found, error)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
