"""No rule that covers another is missed, and few others are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l7proxy.policy import cover
from l7proxy.policy.model import HeaderRule, HttpRule, Mismatch
from l7proxy.policy.shadows import Wider

METHODS = (None, "GET", "POST", "GET|POST", "GET|GET", "G.*", "^GET$")
PATHS = (None, "/", "/a", "/a|/b", "/b|/a", "/.*", "/[ab]", "^/a$", "/a.*?", "")
HOSTS = (None, "a", "a|b", ".*")
HEADERS = (
    HeaderRule(b"x"),
    HeaderRule(b"x", b"v"),
    HeaderRule(b"y", b"w"),
    HeaderRule(b"z", b"v", Mismatch.LOG),
)

rules = st.builds(
    lambda method, path, host, headers: HttpRule(
        "p", "r", method=method, path=path, host=host, headers=tuple(headers)
    ),
    st.sampled_from(METHODS),
    st.sampled_from(PATHS),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(HEADERS), max_size=3),
)


@given(st.lists(rules, max_size=12), rules)
def test_every_rule_that_covers_is_found_in_order(listed: list[HttpRule], rule: HttpRule) -> None:
    everything = [*listed, rule]
    found = Wider(everything).than(rule)
    assert found == sorted(set(found))
    covering = [at for at, each in enumerate(everything) if cover.http(each, rule)]
    assert [at for at in found if cover.http(everything[at], rule)] == covering


def test_rules_that_share_nothing_are_not_looked_at() -> None:
    for many in (
        [HttpRule("p", str(n), method="GET", path=f"/{n}") for n in range(1000)],
        [HttpRule("p", str(n), method="GET", path=f"/{n}/[0-9]+") for n in range(1000)],
        [HttpRule("p", str(n), path="/.*", host=f"h{n}") for n in range(1000)],
        [HttpRule("p", str(n), headers=(HeaderRule(b"x", b"%d" % n),)) for n in range(1000)],
    ):
        wider = Wider(many)
        assert [wider.than(rule) for rule in many] == [[at] for at in range(1000)]
