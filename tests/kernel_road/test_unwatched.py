"""A server whose cgroup is not covered: nobody would enrol its sockets, so the proxy has them.

Seen to fail: without ``proxied`` in bpf/enrol.h the proxy's own accepted sockets are judged.
"""

from __future__ import annotations

import pytest

from l7proxy.demo.places import Place
from tests.kernel_road.town import PORT, WAYS, Town

pytestmark = pytest.mark.needs_ebpf


@pytest.mark.parametrize("way", WAYS)
def test_what_the_proxy_decides_is_not_judged_as_well(town: Town, way: str) -> None:
    elsewhere = Place("elsewhere", netns=town.server.netns, cgroup=town.far.cgroup)
    with (
        elsewhere,
        elsewhere.listen(town.server.ip, PORT),
        town.covered.counted() as risen,
        town.connect(way),
    ):
        pass
    assert risen["kernel_road_unwatched"] == 1, risen
    assert risen["ingress_steered"] == 1, risen
    assert "connections_kernel" not in risen, risen
    assert "not_judged" not in risen, risen
