"""Requests that audited policies would refuse: served, and recorded as AUDIT.

Seen to fail: without the branch for ``verdict.audit`` in ``Account._record``, they are recorded as
FORWARDED; with ``audit`` ignored in ``policy.admission``, they are answered 403.
"""

from __future__ import annotations

from pathlib import Path

from l7proxy.observe.flows import AUDIT, DROPPED, ERROR, FORWARDED
from l7proxy.policy.documents import load_text
from l7proxy.policy.model import PolicySet
from l7proxy.reasons import Reason
from tests.proxy.harness import POLICY, Peer, Proxy, hello, proxied, run

DRY_RULES = (
    "{path: /ok, name: fine}, {path: /never, action: block, name: never}, "
    '{path: /away, name: away, action: forward, forward: {address: "127.1.0.9:1"}}, '
    "{path: /edit, name: edit, headerMatches: [{name: X-Edit, value: v, mismatch: ADD}]}"
)


def dry(port: int, enforced: str | None = None) -> PolicySet:
    """Audited rules, and beside them enforced ones if there are any."""
    text = POLICY.format(rules=DRY_RULES, port=port).replace("spec:\n", "spec:\n  audit: true\n")
    text = text.replace("name: users", "name: dry")
    if enforced is not None:
        text += "---" + POLICY.format(rules=enforced, port=port)
    return load_text(text)


async def statuses(proxy: Proxy, *paths: bytes) -> list[int]:
    client = await proxy.client()
    return [(await client.get(path)).status for path in paths]


def test_what_only_audited_policies_refuse_is_served_and_says_which_rule(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            proxy.apply(dry(proxy.backend.port))
            assert await statuses(proxy, b"/ok", b"/never", b"/other") == [200, 200, 200]
            records = await proxy.recorded(3)
            assert [(each.verdict, each.reason, each.policy, each.rule) for each in records] == [
                (FORWARDED, Reason.NO_POLICY, None, None),
                (AUDIT, Reason.RULE_BLOCKED, "dry", "never"),
                (AUDIT, Reason.NO_RULE_MATCHED, None, None),
            ]
            assert [each.status for each in records] == [200, 200, 200]
            assert proxy.backend.seen.count(b"GET /") == 3

    run(test())


def test_audited_rules_neither_forward_nor_change_headers(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            proxy.apply(dry(proxy.backend.port))
            assert await statuses(proxy, b"/away", b"/edit") == [200, 200]
            records = await proxy.recorded(2)
            assert [(each.verdict, each.backend, each.logged) for each in records] == [
                (FORWARDED, None, ()),
                (FORWARDED, None, ()),
            ]
            assert b"GET /away" in proxy.backend.seen
            assert b"x-edit" not in proxy.backend.seen.lower()

    run(test())


def test_audited_rules_open_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path) as proxy:
            proxy.apply(dry(proxy.backend.port, enforced="{path: /never}"))
            assert await statuses(proxy, b"/ok", b"/never") == [403, 200]
            records = await proxy.recorded(2)
            assert [(each.verdict, each.reason, each.policy) for each in records] == [
                (DROPPED, Reason.NO_RULE_MATCHED, None),
                (AUDIT, Reason.RULE_BLOCKED, "dry"),
            ]

    run(test())


def test_a_request_that_is_not_served_is_an_error_whatever_audit_says(tmp_path: Path) -> None:
    async def leave(peer: Peer) -> None:
        await peer.head()

    async def test() -> None:
        async with proxied(tmp_path, leave) as proxy:
            proxy.apply(dry(proxy.backend.port))
            assert await statuses(proxy, b"/never") == [502]
            (record,) = await proxy.recorded()
            assert (record.verdict, record.reason) == (ERROR, Reason.UPSTREAM_CLOSED)

    run(test())


def test_a_policy_is_enforced_for_the_next_request_once_it_is_not_audited(tmp_path: Path) -> None:
    async def test() -> None:
        async with proxied(tmp_path, hello) as proxy:
            proxy.apply(dry(proxy.backend.port))
            client = await proxy.client()
            assert (await client.get(b"/never")).status == 200
            text = POLICY.format(rules=DRY_RULES, port=proxy.backend.port)
            proxy.apply(load_text(text))
            assert (await client.get(b"/never")).status == 403
            assert [each.verdict for each in await proxy.recorded(2)] == [AUDIT, DROPPED]

    run(test())
