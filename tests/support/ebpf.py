"""Whether this machine lets the tests use eBPF, network namespaces and cgroups."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import platform
import subprocess
import tempfile
from pathlib import Path

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_MAP_CREATE = 0
_MAP_TYPE_ARRAY = 2


@functools.cache
def missing() -> str | None:
    """What the machine lacks for the tests marked ``needs_ebpf``, in one line; None: nothing."""
    for probe in (_root, _bcc, _bpf_syscall, _cgroup2, _bpffs, _network_namespace):
        problem = probe()
        if problem:
            return problem
    return None


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


def _bcc() -> str | None:
    return None if importlib.util.find_spec("bcc") else "no bcc: apt-get install python3-bpfcc"


def _bpf_syscall() -> str | None:
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"no known bpf() system call on {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    # union bpf_attr for BPF_MAP_CREATE: type, key_size, value_size, max_entries, then zeroes.
    attributes = (ctypes.c_uint32 * 32)(_MAP_TYPE_ARRAY, 4, 4, 1)
    fd = libc.syscall(number, _BPF_MAP_CREATE, attributes, ctypes.sizeof(attributes))
    if fd < 0:
        return f"bpf() is refused: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return None


def _cgroup2() -> str | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind == "cgroup2":
            try:
                Path(tempfile.mkdtemp(prefix="l7proxy-probe-", dir=mount)).rmdir()
            except OSError as error:
                return f"no cgroup can be made in {mount}: {error.strerror}"
            return None
    return "no cgroup2 mount"


def _bpffs() -> str | None:
    with tempfile.TemporaryDirectory() as mount:
        return _run("unshare", "--mount", "mount", "-t", "bpf", "bpf", mount)


def _network_namespace() -> str | None:
    return _run("unshare", "--net", "true")


def _run(*command: str) -> str | None:
    """None if ``command`` succeeds, else why not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode == 0:
        return None
    return f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
