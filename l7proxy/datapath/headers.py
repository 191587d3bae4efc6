"""A stand-in for the kernel's headers, so that BCC compiles on a machine without them.

BCC looks for a kernel build tree and includes a handful of files from it; the user-space API
headers of the C library (package linux-libc-dev) have everything our sources need.
"""

from __future__ import annotations

import platform
from pathlib import Path

_FILES = {
    "include/linux/kconfig.h": (
        "#define CONFIG_BPF_SYSCALL 1\n#define CONFIG_64BIT 1\n#include <linux/types.h>\n"
    ),
    "include/linux/types.h": (
        "#pragma once\n#include <uapi/linux/types.h>\n"
        "typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;\n"
        "typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;\n"
        "typedef _Bool bool; typedef unsigned long size_t; typedef unsigned long uintptr_t;\n"
        "#define true 1\n#define false 0\n"
    ),
    "include/linux/log2.h": "",
    "include/linux/version.h": (
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        "#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)\n"
    ),
    "include/generated/uapi/linux/version.h": "",
    "include/uapi/linux/bpf.h": "",
}
_ARCHITECTURES = {"x86_64": ("x86", "x86_64-linux-gnu"), "aarch64": ("arm64", "aarch64-linux-gnu")}


def write(folder: Path) -> None:
    """Makes the tree in the empty ``folder``, for the variable BCC_KERNEL_SOURCE.

    Raises FileNotFoundError naming the package where the C library's headers are missing.
    """
    system = Path("/usr/include")
    kernel, triplet = _ARCHITECTURES.get(platform.machine(), ("x86", "x86_64-linux-gnu"))
    if not (system / "linux" / "in.h").exists():
        raise FileNotFoundError("/usr/include/linux/in.h is missing: install linux-libc-dev")
    for name, text in _FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for header in (system / "linux").iterdir():
        place = folder / "include/uapi/linux" / header.name
        if not place.exists():
            place.symlink_to(header)
    (folder / "include/uapi/asm-generic").symlink_to(system / "asm-generic")
    asm = folder / "arch" / kernel / "include"
    (asm / "asm").mkdir(parents=True)
    (asm / "asm/page.h").write_text("#define PAGE_SIZE 4096\n")
    (asm / "uapi").mkdir()
    (asm / "uapi/asm").symlink_to(system / triplet / "asm")
