"""What is known of policies and workloads in files, without an agent: the options that name them,
and what would become of them on this node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from l7proxy.cli.errors import CommandError, told
from l7proxy.cli.options import PATH
from l7proxy.config import Config

if TYPE_CHECKING:
    from l7proxy.compiler.fit import KernelFit
    from l7proxy.datapath.tables import Entries
    from l7proxy.explain import Surroundings
    from l7proxy.policy.model import PolicySet
    from l7proxy.workloads.model import Workload

_Command = TypeVar("_Command", bound=Callable[..., Any])


def documents(help_: str) -> Callable[[_Command], _Command]:
    """``--policies DIR`` and ``--workloads FILE``: the command gets ``policy_paths`` and
    ``workloads_path``. ``help_`` is of the first."""

    def decorated(command: _Command) -> _Command:
        command = click.option(
            "--workloads",
            "workloads_path",
            metavar="FILE",
            type=PATH,
            help="With --policies: the workloads that are known.",
        )(command)
        return click.option(
            "--policies", "policy_paths", metavar="DIR", multiple=True, type=PATH, help=help_
        )(command)

    return decorated


def check(policy_paths: tuple[Path, ...], workloads_path: Path | None) -> None:
    """Raises UsageError for workloads without policies."""
    if workloads_path is not None and not policy_paths:
        raise click.UsageError("--workloads needs --policies: a running agent knows its own")


def surroundings(
    policy_paths: tuple[Path, ...], workloads_path: Path | None, config: Config
) -> Surroundings:
    """What ``explain`` is asked with. Raises CommandError where the files have mistakes."""
    # Here, since a question to the running agent needs no reader of documents.
    from l7proxy.compiler.fit import KernelFit
    from l7proxy.datapath.tables import TableError
    from l7proxy.explain import Surroundings
    from l7proxy.policy import documents
    from l7proxy.workloads import documents as workload_documents

    with told():
        policies = documents.load_paths(policy_paths, config.limits)
        workloads: Sequence[Workload] = ()
        if workloads_path is not None:
            workloads = workload_documents.load(workloads_path, config.limits).workloads
    try:
        found = entries(policies, workloads, config, KernelFit(config.limits))
    except TableError as clash:
        raise CommandError(f"{workloads_path}: {clash}") from None
    return Surroundings(
        policies,
        workloads,
        config.limits,
        node=config.node,
        userspace=config.datapath == "userspace",
        no_room=frozenset() if found is None else found.no_room,
    )


def entries(
    policies: PolicySet, workloads: Sequence[Workload], config: Config, fit: KernelFit
) -> Entries | None:
    """The kernel's tables, without the node's own addresses; None where there are none: in
    userspace mode, and where no workload is known to be on this node. Raises TableError."""
    from l7proxy.datapath.tables import Located, compile_entries

    here = [each for each in workloads if each.netns or each.cgroup or each.node == config.node]
    if config.datapath == "userspace" or not here:
        return None
    located = [Located(each, slot, False) for slot, each in enumerate(here)]
    return compile_entries(
        policies, workloads, located, (), fit=fit, table_bytes=config.limits.kernel_table_bytes
    )
