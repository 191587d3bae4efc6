"""The demo's pods with a running agent, and further policies, for the end-to-end tests."""

from __future__ import annotations

import time
from typing import Any

from l7proxy.demo.agents import Agent
from l7proxy.demo.client import Outcome
from l7proxy.demo.places import Place
from l7proxy.demo.stages import Stage

PATIENCE = 10.0
"""Seconds for a change of policy to be in force; it is promised within one."""


def quiet(text: str) -> None:
    """Where the demo would say what it is doing."""


def revision(stage: Stage) -> int:
    """The policy revision that is in force."""
    status = stage.agent.admin("/status")
    assert status is not None
    return int(_find(status, "revision"))


def set_policy(stage: Stage, name: str, text: str | None) -> None:
    """Write (or with None remove) a policy file and wait until the agent has taken it."""
    before = revision(stage)
    path = stage.agent.folder("policies") / name
    if text is None:
        path.unlink()
    else:
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
    end = time.monotonic() + PATIENCE
    while revision(stage) == before:
        assert time.monotonic() < end, f"{name} is not in force after {PATIENCE:g} s"
        time.sleep(0.02)


def get(client: Place, stage: Stage, target: str, server: str = "users") -> Outcome:
    """GET from a demo server."""
    host, port = stage.endpoints[server]
    return client.http("GET", host, port, target)


def flow_of(agent: Agent, request_id: str) -> dict[str, Any]:
    """The access log's flow of the request with this X-Request-Id."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for flow in agent.requests():
            for header in flow["l7"]["http"].get("headers", ()):
                if header["value"] == request_id:
                    return flow
        time.sleep(0.05)
    raise AssertionError(f"no flow of {request_id} in the access log")


def _find(document: Any, key: str) -> Any:
    if isinstance(document, dict):
        if key in document:
            return document[key]
        for value in document.values():
            found = _find(value, key)
            if found is not None:
                return found
    return None
