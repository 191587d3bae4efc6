"""``l7proxy unload`` leaves nothing; two agents do not share a state directory."""

from __future__ import annotations

import pytest

from l7proxy.demo import namespaces
from l7proxy.demo.stages import Stage
from tests.support import attached
from tests.support.stage import get

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx")]


def traces(stage: Stage) -> list[str]:
    """Every pin and every attachment of the stage's agent."""
    bpffs, cgroup = stage.agent.folder("bpffs"), stage.agent.folder("cgroup")
    found = [str(path) for path in (bpffs, *bpffs.rglob("*")) if path.exists()]
    found += [f"{folder}: {types}" for folder, types in attached.to_cgroups(cgroup).items()]
    spaces = {pod.netns for pod in stage.pods.values()} | {stage.watcher.netns}
    for netns in spaces:
        assert netns is not None
        if count := attached.to_namespace(namespaces.path(netns)):
            found.append(f"{netns}: {count} sk_lookup programs")
    return found


def test_a_second_agent_on_the_same_state_is_refused(stage: Stage) -> None:
    done = stage.agent.command("run", "-c", str(stage.agent.config))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(stage.agent.settings["state"]) in done.stderr
    assert "Traceback" not in done.stderr
    assert get(stage.pods["frontend"], stage, "/users").status == 200
    assert get(stage.pods["frontend"], stage, "/admin").status == 403


def test_unload_leaves_nothing(stage: Stage) -> None:
    frontend, intruder = stage.pods["frontend"], stage.pods["intruder"]
    assert traces(stage) != []
    stage.agent.kill()
    assert traces(stage) != []
    done = stage.agent.command("unload", "-c", str(stage.agent.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert traces(stage) == []
    for client in (frontend, intruder):
        assert get(client, stage, "/admin").header("X-Server") == "users"
        assert get(client, stage, "/report", "auth").status == 200
    again = stage.agent.command("unload", "-c", str(stage.agent.config))
    assert again.returncode == 0
    stage.agent.start()
    assert get(frontend, stage, "/admin").status == 403
    assert get(intruder, stage, "/users").error == "EPERM"
