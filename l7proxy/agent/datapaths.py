"""Which datapath this agent uses, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from l7proxy import datapath
from l7proxy.agent.errors import AgentError
from l7proxy.agent.listeners import UserspaceDatapath
from l7proxy.agent.report import Report
from l7proxy.config import Config
from l7proxy.datapath.port import Datapath, DatapathError

if TYPE_CHECKING:
    from l7proxy.datapath.datapath import EbpfDatapath


@dataclass(frozen=True, slots=True)
class Opened:
    """A datapath; ``mode`` is ``ebpf`` or ``userspace``, ``why`` says why it is that one.
    ``kernel_road``: requests may be judged in the kernel."""

    datapath: Datapath
    mode: str
    why: str
    kernel_road: bool = False


def open_datapath(config: Config, report: Report) -> Opened:
    """The datapath that the configuration asks for. Raises AgentError if it cannot be had."""
    if config.datapath == "userspace":
        return _userspace(config, "datapath: userspace is set")
    try:
        kernel = _kernel(config)
    except DatapathError as error:
        if config.datapath == "ebpf":
            raise AgentError(f"datapath: ebpf: {error}") from None
        report.info(f"userspace mode, because eBPF does not work here: {error}")
        return _userspace(config, str(error))
    if config.proxy.listen:
        report.info("proxy.listen is for userspace mode: left alone, traffic is steered by eBPF")
    return Opened(kernel, "ebpf", f"datapath: {config.datapath} is set", kernel.kernel_road)


def _kernel(config: Config) -> EbpfDatapath:
    return datapath.open_datapath(config)


def _userspace(config: Config, why: str) -> Opened:
    return Opened(UserspaceDatapath(config.proxy.listen, config.proxy.workers), "userspace", why)
