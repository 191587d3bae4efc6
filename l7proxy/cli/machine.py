"""What the machine offers: the interpreter, the kernel, and what the eBPF datapath finds."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

from l7proxy.config import Config
from l7proxy.datapath.features import Check, probe


def checks(config: Config) -> list[Check]:
    """Everything that eBPF mode rests on; userspace mode needs none of it but the first."""
    found = [_python(), _kernel()]
    if found[-1].ok:
        found += [_bcc(), *probe(config.bpffs, config.cgroup_folder())]
    return found


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()}, {sys.executable}")


def _kernel() -> Check:
    system, release = platform.system(), platform.release()
    if system == "Linux":
        return Check("kernel", True, f"{system} {release}")
    return Check("kernel", False, system, "only userspace mode works here: set datapath: userspace")


def _bcc() -> Check:
    """Whether this interpreter sees BCC, and not the package of that name on PyPI."""
    name = "bcc module"
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        return Check(
            name,
            False,
            "this interpreter cannot import it",
            "apt-get install python3-bpfcc; make the virtual environment from /usr/bin/python3 "
            "with --system-site-packages",
        )
    folder = Path(found.origin).parent
    if not (folder / "libbcc.py").exists():
        return Check(
            name, False, f"{folder} is another project's", "pip uninstall bcc: it hides BCC"
        )
    return Check(name, True, str(folder))
