"""Workload files: Kubernetes Pod objects, as ``kubectl get pods -A -o yaml`` prints them.

Whole objects are accepted. Only what is read here is checked; every other field of a Pod is left
alone, because the files are another system's output and not written for l7proxy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from l7proxy import yaml_lines
from l7proxy.file_errors import FileError, FileErrors, reason
from l7proxy.limits import Limits
from l7proxy.workloads import pods
from l7proxy.workloads.model import Workload

SUFFIXES = frozenset({".yaml", ".yml", ".json"})

_MAX_DEPTH = 64
# A document may hold anything here, also what cannot be hashed.
_LISTS = ("List", "PodList")


class WorkloadErrors(FileErrors):
    """The workload files cannot be used."""


@dataclass(frozen=True, slots=True)
class WorkloadSet:
    """What a file or folder holds, in order of id.

    ``warnings`` tell what was passed over; ``digest`` changes when and only when the workloads do.
    """

    workloads: tuple[Workload, ...] = ()
    warnings: tuple[FileError, ...] = ()
    digest: str = ""


def load(path: Path, limits: Limits | None = None) -> WorkloadSet:
    """The workloads in a file, or in the files ``*.yaml``, ``*.yml``, ``*.json`` of a folder.

    Raises WorkloadErrors with everything that is wrong, also between files.
    """
    limits = limits or Limits()
    collected = _Collected(limits)
    try:
        for file in _files(path):
            collected.read(file)
    except OSError as error:
        collected.errors.append(FileError(str(path), 0, _reason(error)))
    return collected.result()


def parse(text: bytes, name: str, limits: Limits | None = None) -> WorkloadSet:
    """The workloads in one text, as if it were the file ``name``. Raises WorkloadErrors."""
    collected = _Collected(limits or Limits())
    collected.parse(name, text)
    return collected.result()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(
        file
        for file in path.iterdir()
        if file.suffix in SUFFIXES and not file.name.startswith(".") and not file.is_dir()
    )


def _reason(error: OSError) -> str:
    return f"cannot be read: {reason(error)}"


class _Collected:
    """What the files read so far hold, and what is wrong with them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._found: list[tuple[Workload, FileError]] = []
        self._warnings: list[FileError] = []
        self.errors: list[FileError] = []

    def read(self, file: Path) -> None:
        limit = self._limits.workload_file_bytes
        try:
            # A fifo or a device would block, or never end.
            if file.exists() and not file.is_file():
                self.errors.append(FileError(str(file), 0, "is not a regular file"))
                return
            with file.open("rb") as stream:
                text = stream.read(limit + 1)
        except OSError as error:
            self.errors.append(FileError(str(file), 0, _reason(error)))
            return
        if len(text) > limit:
            self.errors.append(FileError(str(file), 0, f"is larger than {limit} bytes"))
            return
        self.parse(str(file), text)

    def parse(self, file: str, text: bytes) -> None:
        limit = self._limits.workload_values
        try:
            for document in yaml_lines.load(text, max_depth=_MAX_DEPTH, max_values=limit):
                self._document(file, document)
        except yaml_lines.YamlError as error:
            self.errors.append(FileError(file, error.line, error.message))

    def _document(self, file: str, document: yaml_lines.Document) -> None:
        if not isinstance(document.value, dict):
            message = "must be a Pod or a List of Pods"
            self.errors.append(FileError(file, document.line, message))
            return
        kind = document.value.get("kind")
        if kind not in _LISTS:
            self._object(file, document, ())
            return
        items = document.value.get("items")
        if items is None:
            return
        if not isinstance(items, list):
            line = document.line_of(("items",))
            self.errors.append(FileError(file, line, "items: must be a list"))
            return
        for at in range(len(items)):
            self._object(file, document, ("items", at), of_list=kind)

    def _object(
        self, file: str, document: yaml_lines.Document, where: yaml_lines.Path, of_list: str = ""
    ) -> None:
        reader = pods.Reader(document, where)
        if of_list != "PodList" or reader.value("kind") is not None:
            kind = reader.text("kind")
            if kind is not None and kind != "Pod":
                message = f"kind {kind} is not a Pod: passed over"
                self._warnings.append(FileError(file, reader.line("kind"), message))
                return
            version = reader.text("apiVersion")
            if version is not None and version != "v1":
                reader.fault(("apiVersion",), "must be v1")
        workload = pods.workload(reader) if not reader.faults else None
        self.errors.extend(FileError(file, line, message) for line, message in reader.faults)
        if workload is not None:
            self._found.append((workload, FileError(file, reader.line(), "")))

    def result(self) -> WorkloadSet:
        """Everything read, if nothing is wrong. Raises WorkloadErrors."""
        self.errors.extend(self._clashes())
        if self.errors:
            raise WorkloadErrors(self.errors)
        ordered = tuple(sorted((each for each, _ in self._found), key=lambda each: each.id))
        digest = hashlib.sha256(
            "\n".join(repr(_content(each)) for each in ordered).encode()
        ).hexdigest()
        return WorkloadSet(ordered, tuple(self._warnings), digest)

    def _clashes(self) -> Iterator[FileError]:
        """What two workloads claim both: then who a connection belongs to could not be told."""
        owners: dict[tuple[str, str], tuple[Workload, FileError]] = {}
        for number, (workload, place) in enumerate(self._found):
            if number == self._limits.workloads:
                message = f"more than {self._limits.workloads} workloads (limits.workloads)"
                yield FileError(place.file, place.line, message)
                return
            claims = [("name", workload.id)]
            claims += [("address", str(address)) for address in workload.addresses]
            if workload.netns is not None:
                claims.append(("network namespace", workload.netns))
            if workload.cgroup is not None:
                claims.append(("cgroup", workload.cgroup))
            for claim in claims:
                owner, first = owners.setdefault(claim, (workload, place))
                if owner is not workload:
                    where = f"{first.file}:{first.line}"
                    message = f"the {claim[0]} {claim[1]} is already that of {owner.id} ({where})"
                    yield FileError(place.file, place.line, f"{workload.id}: {message}")


def _content(workload: Workload) -> tuple[object, ...]:
    """All that a workload is, with its labels in one order."""
    return (
        workload.id,
        sorted(workload.labels.items()),
        workload.addresses,
        workload.netns,
        workload.cgroup,
        workload.node,
        workload.short_circuit,
    )
