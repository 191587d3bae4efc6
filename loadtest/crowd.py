"""``make locust``: the demo with a crowd of users, on locust's web page or without one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from l7proxy.demo import abilities, servers, stages
from l7proxy.demo.agents import AgentError
from l7proxy.demo.places import Place
from l7proxy.demo.servers import ServerError
from l7proxy.demo.stages import Stage

USERS = Path(__file__).with_name("locustfile.py")
HOST, PORT = "127.0.0.1", 8089
READY_SECONDS = 30.0
COPIED = 65536


@click.command()
@click.option("--users", default=20, show_default=True, help="How many of them.")
@click.option("--rate", default=10.0, show_default=True, help="How many more each second.")
@click.option("--headless", is_flag=True, help="No web page: start at once, sum up at the end.")
@click.option("--seconds", default=10, show_default=True, help="How long, if headless.")
@click.option("--json", "as_json", is_flag=True, help="Sum up as JSON, if headless.")
@click.option("--port", default=PORT, show_default=True, help="Of the web page.")
@click.option("--userspace", is_flag=True, help="Do without eBPF even where it works.")
def main(
    users: int,
    rate: float,
    headless: bool,
    seconds: int,
    as_json: bool,
    port: int,
    userspace: bool,
) -> None:
    """Let a crowd of users loose on the demo; exit with 1 if any got a wrong answer."""
    lacking = "asked for" if userspace else abilities.lacking()
    if lacking:
        click.echo(f"userspace mode: {lacking}", err=True)
    say = partial(click.echo, err=True)
    try:
        with stages.userspace(say) if lacking else stages.pods(say) as stage:
            argv = _argv(stage, users, rate)
            if headless:
                argv += ["--headless", "--run-time", f"{seconds}s", "--only-summary"]
                argv += ["--json"] if as_json else []
                code = stage.pods["frontend"].popen(argv).wait()
            else:
                code = _with_page(stage, argv, port)
    except KeyboardInterrupt:
        click.echo("interrupted; everything is cleaned up", err=True)
        return
    except (AgentError, ServerError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if code:
        raise SystemExit(1)


def _argv(stage: Stage, users: int, rate: float) -> list[str]:
    host, port = stage.endpoints["users"]
    argv = [sys.executable, "-m", "locust", "-f", str(USERS), "--host", f"http://{host}:{port}"]
    argv += ["--users", str(users), "--spawn-rate", f"{rate:g}"]
    source = stage.sources.get("frontend")
    return [*argv, "--source", source] if source else argv


def _with_page(stage: Stage, argv: list[str], port: int) -> int:
    """Until Ctrl-C, or until locust ends; its exit code."""
    frontend = stage.pods["frontend"]
    with tempfile.NamedTemporaryFile(prefix="l7proxy-locust-", suffix=".log") as log:
        page = [*argv, "--web-host", HOST, "--web-port", str(port)]
        process = frontend.popen(page, stdout=log, stderr=log)
        servers.wait_ready(frontend, process, [(HOST, port)], Path(log.name), READY_SECONDS)
        return asyncio.run(_hold(stage, frontend, process, port))


async def _hold(stage: Stage, frontend: Place, process: subprocess.Popen[Any], port: int) -> int:
    relay = None
    if frontend.netns is not None:
        # The page is in the pod, and the browser is not.
        relay = await asyncio.start_server(partial(_relay, frontend, port), HOST, port)
    click.echo(f"locust is at http://{HOST}:{port}: press START there; Ctrl-C ends everything")
    click.echo(f"l7proxy ui -c {stage.agent.config} has a map of what the users do")
    ended, descriptor = asyncio.Event(), os.pidfd_open(process.pid)
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        os.close(descriptor)
        if relay:
            relay.close()
    return process.wait()


async def _relay(
    place: Place, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A connection from here to the same port of ``place``, until either side ends it."""
    inside = await asyncio.to_thread(place.connect, HOST, port)
    inside.setblocking(False)
    inner_reader, inner_writer = await asyncio.open_connection(sock=inside)
    await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(COPIED):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    main()
