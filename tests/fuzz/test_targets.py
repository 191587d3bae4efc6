"""Every target over its seeds: what the fuzzers start from shows no fault."""

from __future__ import annotations

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_no_seed_shows_a_fault(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert len(seeds) >= 6
    for seed in seeds:
        assert len(seed) <= target.most_bytes
        target.run(seed)
