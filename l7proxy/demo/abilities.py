"""Whether this machine lets the demo use pods and eBPF."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable

from l7proxy.demo import cgroups, namespaces

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_MAP_CREATE = 0
_ARRAY = 2


def lacking() -> str | None:
    """What stands in the way of pods and eBPF, in one line; None where nothing does."""
    probes: tuple[Callable[[], str | None], ...] = (_root, _programs, _cgroup2, _netns, _bpf)
    return next((problem for probe in probes if (problem := probe())), None)


def _root() -> str | None:
    return None if os.geteuid() == 0 else "eBPF and network namespaces need root"


def _programs() -> str | None:
    for program in ("ip", "nsenter", "unshare", "nginx"):
        if shutil.which(program) is None:
            return f"the program {program} is missing"
    return None if importlib.util.find_spec("bcc") else "bcc is missing (python3-bpfcc)"


def _cgroup2() -> str | None:
    try:
        mount = cgroups.mount_point()
    except cgroups.CgroupError as error:
        return str(error)
    return None if os.access(mount, os.W_OK) else f"no cgroup may be made in {mount}"


def _netns() -> str | None:
    return None if namespaces.available() else "network namespaces are not permitted here"


def _bpf() -> str | None:
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"eBPF is not known on {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    # The head of union bpf_attr for a map: type, key size, value size, entries.
    attributes = (ctypes.c_uint32 * 32)(_ARRAY, 4, 4, 1)
    descriptor = libc.syscall(number, _BPF_MAP_CREATE, attributes, ctypes.sizeof(attributes))
    if descriptor < 0:
        return f"eBPF is not permitted here ({os.strerror(ctypes.get_errno())})"
    os.close(descriptor)
    return None
