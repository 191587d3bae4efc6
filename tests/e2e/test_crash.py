"""The agent is killed under load and started again: nothing passes that it would have refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l7proxy.demo.client import Outcome, exchange
from l7proxy.demo.stages import Stage
from tests.support.load import Load
from tests.support.stage import get

pytestmark = [pytest.mark.needs_ebpf, pytest.mark.needs_command("nginx")]

ENOUGH = 200
GONE = {"ECONNREFUSED", "ECONNRESET", "EPERM", "closed"}


@pytest.fixture(autouse=True)
def running_again(stage: Stage) -> Iterator[None]:
    """Each test finds the agent running."""
    yield
    assert stage.agent.process is not None
    if stage.agent.process.poll() is not None:
        stage.agent.start()


def kill_between(splice: Load, allowed: Load, refused: Load, stage: Stage) -> list[list[Outcome]]:
    """Kill the agent while all three run; what each got from then on."""
    for load in (splice, allowed, refused):
        load.wait(20)
    starts = [load.count for load in (splice, allowed, refused)]
    stage.agent.kill()
    return [
        load.wait_until(lambda new: len(new) >= ENOUGH, start)
        for load, start in zip((splice, allowed, refused), starts, strict=True)
    ]


def test_kill_under_load_and_start_again(stage: Stage) -> None:
    """Seen to fail: with everything unloaded at the agent's death, /admin was answered with 200."""
    frontend = stage.pods["frontend"]
    users, auth = stage.endpoints["users"], stage.endpoints["auth"]
    with (
        Load(frontend, *auth, "/") as splice,
        Load(frontend, *users, "/users") as allowed,
        Load(frontend, *users, "/admin") as refused,
    ):
        on_splice, on_allowed, on_refused = kill_between(splice, allowed, refused, stage)
        assert {outcome.status for outcome in on_splice} == {200}
        assert splice.connections == 1
        # From the first failure on there is nobody to decide, so nothing is answered at all.
        for outcomes, served in ((on_allowed, 200), (on_refused, 403)):
            first = next(i for i, o in enumerate(outcomes) if o.status is None)
            assert {o.status for o in outcomes[:first]} <= {served}
            assert {o.status for o in outcomes[first:]} == {None}
            assert {o.error for o in outcomes[first:]} <= GONE
        starts = allowed.count, refused.count, splice.count
        stage.agent.start()
        for load, start, served in ((allowed, starts[0], 200), (refused, starts[1], 403)):
            new = load.wait_until(lambda o: sum(x.status is not None for x in o) >= ENOUGH, start)
            assert {outcome.status for outcome in new} <= {None, served}
        splice.wait(ENOUGH)
    assert {outcome.status for outcome in splice.outcomes} == {200}
    assert splice.connections == 1


def test_an_open_connection_to_the_proxy_is_reset(stage: Stage) -> None:
    host, port = stage.endpoints["users"]
    with stage.pods["frontend"].connect(host, port) as connection:
        assert exchange(connection, "GET", "/users").status == 200
        stage.agent.kill()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_while_it_is_down_l4_rules_hold_and_new_pod_connections_pass(stage: Stage) -> None:
    """Seen to fail: with everything unloaded at the agent's death, intruder was answered."""
    stage.agent.kill()
    assert get(stage.pods["intruder"], stage, "/users").error == "EPERM"
    assert get(stage.pods["frontend"], stage, "/users").error in GONE
    assert get(stage.pods["frontend"], stage, "/", "auth").status == 200


def test_a_clean_stop_leaves_the_kernel_state_in_force(stage: Stage) -> None:
    assert stage.agent.stop() == 0
    assert get(stage.pods["intruder"], stage, "/users").error == "EPERM"
    assert get(stage.pods["frontend"], stage, "/admin").error in GONE
    assert get(stage.pods["frontend"], stage, "/", "auth").status == 200
