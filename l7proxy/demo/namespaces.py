"""Network namespaces with addresses and links, made with iproute2's batch mode."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, IPv6Network
from pathlib import Path

RUN = Path("/run/netns")
LINK_LOCAL = IPv6Network("fe80::/64")


class NamespaceError(Exception):
    """iproute2 could not do what was asked; the text is its own message."""


@dataclass(frozen=True, slots=True)
class Link:
    """One end of a veth pair: its name, its addresses, and the bridge that it joins, if any."""

    name: str
    v4: IPv4Interface | None = None
    v6: IPv6Interface | None = None
    bridge: str | None = None


def path(name: str) -> Path:
    """Where the namespace ``name`` is found."""
    return RUN / name


def create(name: str) -> None:
    """Make the namespace ``name`` with loopback up. Raises NamespaceError."""
    _ip(["ip", "netns", "add", name])
    batch(name, ["link set lo up"])


def delete(name: str) -> None:
    """Remove the namespace ``name``; nothing happens where it does not exist."""
    if path(name).exists():
        _ip(["ip", "netns", "delete", name])


def batch(name: str, commands: Sequence[str]) -> None:
    """Run ``ip`` commands, written without the leading "ip", inside the namespace ``name``."""
    _ip(["ip", "-n", name, "-batch", "-"], "\n".join(commands) + "\n")


def bridge(name: str, link: Link) -> None:
    """Make a bridge with the link's addresses in the namespace ``name``."""
    batch(
        name,
        [
            f"link add {link.name} type bridge forward_delay 0 mcast_snooping 0",
            *_configure(link),
        ],
    )


def join(near: str, near_link: Link, far: str, far_link: Link) -> None:
    """Connect two namespaces with a veth pair; both ends are up with their addresses."""
    batch(
        near,
        [
            f"link add {near_link.name} type veth peer name {far_link.name} netns {far}",
            *_configure(near_link),
        ],
    )
    batch(far, _configure(far_link))


def default_route(name: str, v4: IPv4Interface, v6: IPv6Interface) -> None:
    """Send everything else from the namespace ``name`` by way of these addresses."""
    batch(name, [f"route add default via {v4.ip}", f"route add ::/0 via {v6.ip}"])


def forward(name: str) -> None:
    """Let the namespace ``name`` route packets between its links."""
    script = (
        "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
    )
    _ip(["nsenter", f"--net={path(name)}", "sh", "-c", script])


def _configure(link: Link) -> list[str]:
    # No duplicate address detection, so that an address works at once. The link-local address,
    # which a router needs to look for its neighbours, is therefore given by hand.
    commands = [f"link set {link.name} addrgenmode none"]
    if link.bridge:
        commands.append(f"link set {link.name} master {link.bridge}")
    if link.v4:
        commands.append(f"addr add {link.v4} dev {link.name}")
    if link.v6:
        local = LINK_LOCAL[int(link.v6.ip) & 0xFFFF]
        commands.append(f"addr add {local}/64 dev {link.name} nodad")
        commands.append(f"addr add {link.v6} dev {link.name} nodad")
    commands.append(f"link set {link.name} up")
    return commands


def _run(argv: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=30)


def _ip(argv: Sequence[str], text: str = "") -> None:
    try:
        done = _run(argv, text)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"{' '.join(argv)}: {error}") from error
    if done.returncode:
        raise NamespaceError(f"{' '.join(argv)}: {done.stderr.strip().splitlines()[0]}")
