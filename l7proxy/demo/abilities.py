"""Whether this machine lets a node in miniature use pods and eBPF."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable

from l7proxy.demo import cgroups

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_MAP_CREATE = 0
_ARRAY = 2


def lacking() -> str | None:
    """What stands in the way of the demo's pods, in one line; None where nothing does."""
    return lacking_for_ebpf() or _program("nginx")


def lacking_for_ebpf() -> str | None:
    """What stands in the way of namespaces, cgroups and eBPF, in one line; None: nothing."""
    probes: tuple[Callable[[], str | None], ...] = (
        _root,
        _programs,
        _cgroup2,
        _netns,
        _bpf,
        _bpffs,
    )
    return next((problem for probe in probes if (problem := probe())), None)


def _root() -> str | None:
    return None if os.geteuid() == 0 else "eBPF and network namespaces need root"


def _programs() -> str | None:
    for name in ("ip", "nsenter", "unshare"):
        if problem := _program(name):
            return problem
    return None if importlib.util.find_spec("bcc") else "bcc is missing (python3-bpfcc)"


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"the program {name} is missing"


def _cgroup2() -> str | None:
    try:
        mount = cgroups.mount_point()
    except cgroups.CgroupError as error:
        return str(error)
    return None if os.access(mount, os.W_OK) else f"no cgroup may be made in {mount}"


def _netns() -> str | None:
    made = _succeeds("unshare", "--net", "true")
    return None if made else "network namespaces are not permitted here"


def _bpffs() -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        mounted = _succeeds("unshare", "--mount", "mount", "-t", "bpf", "bpf", folder)
    return None if mounted else "no bpffs may be mounted here"


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


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
