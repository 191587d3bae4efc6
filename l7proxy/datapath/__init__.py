"""Sockets steered and short-circuited by eBPF: loading, tables, attachments, and their removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l7proxy.config import Config
    from l7proxy.datapath.datapath import EbpfDatapath


def open_datapath(config: Config) -> EbpfDatapath:
    """Loads the programs, or adopts what an earlier agent left. Raises DatapathError."""
    from l7proxy.datapath.datapath import EbpfDatapath

    return EbpfDatapath(config)


def unload(config: Config) -> int:
    """Detaches and unpins everything, and forgets what was compiled; the number of objects that
    were pinned."""
    from l7proxy.datapath import store
    from l7proxy.datapath.cache import Cache

    return store.remove_all(config.bpffs, config.state, Cache(config.cache))
