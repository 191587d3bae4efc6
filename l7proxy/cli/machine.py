"""What the machine offers, as far as it shows without loading anything into the kernel."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from l7proxy.config import Config

_BTF = Path("/sys/kernel/btf/vmlinux")
_STATUS = Path("/proc/self/status")
_MOUNTS = Path("/proc/mounts")

# Bits of the capability sets in /proc/self/status.
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}


@dataclass(frozen=True, slots=True)
class Check:
    """One fact: ``ok`` is None where it could not be found out; ``remedy`` is for False."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


def checks(config: Config) -> list[Check]:
    """Everything that eBPF mode rests on; userspace mode needs only the first."""
    probes: tuple[Callable[[Config], Check], ...] = (
        _python,
        _kernel,
        _rights,
        _bcc,
        _btf,
        _cgroup2,
        _bpffs,
    )
    return [probe(config) for probe in probes]


def _python(config: Config) -> Check:
    return Check("python", True, f"{platform.python_version()} ({sys.executable})")


def _kernel(config: Config) -> Check:
    system, release = platform.system(), platform.release()
    return Check(
        "kernel",
        system == "Linux",
        f"{system} {release}",
        "" if system == "Linux" else "only userspace mode works here: datapath: userspace",
    )


def _rights(config: Config) -> Check:
    name = "rights"
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return Check(name, None, "no /proc/self/status to read capabilities from")
    held = int(line.split()[1], 16)
    lacking = [text for bit, text in _CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        found = f"user {os.geteuid()} without {', '.join(lacking)}"
        return Check(name, False, found, "run as root; in a container: --privileged")
    return Check(name, True, f"user {os.geteuid()} with {', '.join(_CAPABILITIES.values())}")


def _bcc(config: Config) -> Check:
    found = importlib.util.find_spec("bcc")
    if found is None:
        remedy = "apt-get install python3-bpfcc, and a virtual environment made from "
        remedy += "/usr/bin/python3 with --system-site-packages"
        return Check("bcc", False, "not importable", remedy)
    if found.origin is None or not Path(found.origin).with_name("libbcc.py").exists():
        remedy = "pip uninstall bcc: the package of that name on PyPI is another project"
        return Check("bcc", False, f"{found.origin} is not the BPF compiler collection", remedy)
    return Check("bcc", True, str(Path(found.origin).parent))


def _btf(config: Config) -> Check:
    if _BTF.exists():
        return Check("BTF", True, str(_BTF))
    return Check("BTF", False, f"{_BTF} is missing", "use a kernel with CONFIG_DEBUG_INFO_BTF=y")


def _cgroup2(config: Config) -> Check:
    folder = config.cgroup_folder()
    if folder is None:
        return Check("cgroup2", False, "not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    if not (folder / "cgroup.procs").exists():
        remedy = "set cgroup: in the configuration to a cgroup v2 folder, or to auto"
        return Check("cgroup2", False, f"{folder} is no cgroup v2 folder", remedy)
    if not os.access(folder, os.W_OK):
        return Check("cgroup2", False, f"{folder} cannot be written", "run as root")
    return Check("cgroup2", True, str(folder))


def _bpffs(config: Config) -> Check:
    try:
        lines = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return Check("bpffs", None, f"{_MOUNTS} cannot be read")
    mounts = [Path(mount) for _, mount, kind, *_ in lines if kind == "bpf"]
    if any(config.bpffs.is_relative_to(mount) for mount in mounts):
        return Check("bpffs", True, f"mounted, pins go to {config.bpffs}")
    if "nodev\tbpf" in Path("/proc/filesystems").read_text():
        return Check("bpffs", True, f"not mounted at {config.bpffs}; the agent mounts it")
    return Check("bpffs", False, "the kernel has no bpf file system", "CONFIG_BPF_SYSCALL=y")
