"""Files and directories of policy documents to a ``PolicySet``, or to every error in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from l7proxy import yaml_lines
from l7proxy.file_errors import FileError, FileErrors, reason
from l7proxy.limits import Limits
from l7proxy.policy import build
from l7proxy.policy.model import Policy, PolicySet, Source

SUFFIXES = (".yaml", ".yml", ".json")


class PolicyErrors(FileErrors):
    """The documents are not valid; ``errors`` holds everything found, in order of place."""


def load_paths(paths: Iterable[str | Path], limits: Limits | None = None) -> PolicySet:
    """The policies of files and directories, all of them or none.

    Of a directory the files ``*.yaml``, ``*.yml`` and ``*.json`` directly inside it are read, but
    not hidden ones and not folders below it. A file or directory named twice is read once.

    Raises PolicyErrors with every error in every file.
    """
    limits = limits or Limits()
    errors: list[FileError] = []
    policies: list[Policy] = []
    for file in _files(paths, errors):
        try:
            text = _read(file, limits)
        except (OSError, ValueError) as error:
            errors.append(FileError(str(file), 0, _reason(error)))
        else:
            policies.extend(_parse(str(file), text, limits, errors))
    errors.extend(_repeated(policies))
    if errors:
        raise PolicyErrors(errors)
    return policy_set(policies)


def load_text(text: str | bytes, name: str = "<text>", limits: Limits | None = None) -> PolicySet:
    """The policies of one text, as if it were the file ``name``. Raises PolicyErrors."""
    errors: list[FileError] = []
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    policies = list(_parse(name, data, limits or Limits(), errors))
    errors.extend(_repeated(policies))
    if errors:
        raise PolicyErrors(errors)
    return policy_set(policies)


def policy_set(policies: Iterable[Policy]) -> PolicySet:
    """A set in deciding order: by name, then namespace, then kind."""
    ordered = tuple(sorted(policies, key=lambda each: (each.name, each.namespace or "", each.kind)))
    return PolicySet(ordered, hashlib.sha256(repr(ordered).encode()).hexdigest())


def _files(paths: Iterable[str | Path], errors: list[FileError]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        try:
            if path.is_dir():
                listed = sorted(path.iterdir())
                found |= dict.fromkeys(file for file in listed if _is_policy_file(file))
            elif path.exists():
                found[path] = None
            else:
                errors.append(FileError(str(path), 0, "no such file or directory"))
        except (OSError, ValueError) as error:
            errors.append(FileError(str(path), 0, _reason(error)))
    return list(found)


def _is_policy_file(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.startswith(".") and (not path.is_dir())


def _read(file: Path, limits: Limits) -> bytes:
    # A fifo or a device would block or never end.
    if not file.is_file() and file.exists():
        raise ValueError("is not a regular file")
    with file.open("rb") as stream:
        text = stream.read(limits.policy_file_bytes + 1)
    if len(text) > limits.policy_file_bytes:
        raise ValueError(f"is larger than {limits.policy_file_bytes} bytes")
    return text


def _reason(error: OSError | ValueError) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)


def _parse(file: str, text: bytes, limits: Limits, errors: list[FileError]) -> Iterator[Policy]:
    documents = yaml_lines.load(
        text, max_depth=limits.policy_depth, max_values=limits.policy_values
    )
    try:
        for document in documents:
            policy, found = build.policy(file, document)
            errors.extend(FileError(file, line, message) for line, message in found)
            if policy is not None:
                yield policy
    except yaml_lines.YamlError as error:
        errors.append(FileError(file, error.line, error.message))


def _repeated(policies: Sequence[Policy]) -> Iterator[FileError]:
    seen: dict[tuple[str, str | None, str], Source] = {}
    for policy in policies:
        key = (policy.kind, policy.namespace, policy.name)
        first = seen.setdefault(key, policy.source)
        if first is not policy.source:
            yield FileError(
                policy.source.file,
                policy.source.line,
                f"metadata.name: {policy.kind} {policy.display_name!r} is already defined "
                f"at {first}",
            )
