"""Dry run: what audited policies would refuse beyond what is refused. Enforced is none of it.

The enforced verdict is that of all policies which are not audited, as if the others did not
exist: an audited policy opens nothing, refuses nothing, forwards nothing and changes no header.
What is recorded is where all policies together would refuse and the enforced ones do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from l7proxy.policy.model import PolicySet, RuleAction
from l7proxy.policy.verdict import Admission, Audit, HttpLayer


def compared(
    enforced: Admission, together: Admission, policies: Iterable[str], *, speaks_http: bool
) -> Admission:
    """``enforced``, with what ``together`` could refuse beyond it.

    ``together`` is the admission as if the audited ``policies`` were enforced too.
    ``speaks_http``: an HTTP rule of any of them names the server and the port, so that the proxy
    may read the connection, also where no HTTP rule is for this client.
    """
    if not enforced.allowed or not _refuses_more(enforced, together):
        return enforced
    recorded = speaks_http or bool(enforced.layers or together.layers)
    names = tuple(dict.fromkeys(policies))
    return dataclasses.replace(enforced, audit=Audit(together, names, recorded))


def all_enforced(policies: PolicySet) -> PolicySet:
    """The same policies without audit."""
    if not any(policy.audited for policy in policies.policies):
        return policies
    return dataclasses.replace(
        policies,
        policies=tuple(
            dataclasses.replace(
                policy,
                specs=tuple(dataclasses.replace(spec, audit=False) for spec in policy.specs),
            )
            for policy in policies.policies
        ),
    )


def said(policies: tuple[str, ...]) -> str:
    """``policy a is audited``, or ``policies a and b are audited``."""
    if len(policies) == 1:
        return f"policy {policies[0]} is audited"
    return f"policies {' and '.join(policies)} are audited"


def _refuses_more(enforced: Admission, together: Admission) -> bool:
    """Whether there can be a request that only ``together`` refuses."""
    if not together.allowed:
        return True
    own = {layer.direction: layer for layer in enforced.layers}
    return any(_is_stricter(layer, own.get(layer.direction)) for layer in together.layers)


def _is_stricter(layer: HttpLayer, own: HttpLayer | None) -> bool:
    """``layer`` has all rules of ``own``. More that allow only let it refuse less."""
    known = set() if own is None else set(own.rules)
    more_blocks = any(rule.action is RuleAction.BLOCK and rule not in known for rule in layer.rules)
    return more_blocks or (_refuses_the_rest(layer) and (own is None or not _refuses_the_rest(own)))


def _refuses_the_rest(layer: HttpLayer) -> bool:
    return not (layer.moot or layer.default_allow)
