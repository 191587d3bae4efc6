"""Where the files that come with l7proxy are: in an installed package, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bpf_dir() -> Path:
    """The folder of the eBPF sources."""
    return _shipped("bpf")


def example_policies() -> Path:
    """The folder of the example policies."""
    return _shipped("policies")


def _shipped(name: str) -> Path:
    """A folder that the wheel carries inside the package and a checkout beside it."""
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
