"""What is wrong with a document, in words: pydantic's findings as ``field.path: message``."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator
from typing import Any

from pydantic import ValidationError

from l7proxy.file_errors import unknown
from l7proxy.policy.schema_parts import Strict
from l7proxy.yaml_lines import Document, Path

# Fields of Cilium's schema that l7proxy does not enforce. Naming them tells an author that the
# document is fine and the product is not, and keeps a typing mistake apart from a missing feature.
UNSUPPORTED = frozenset(
    {
        "auth",
        "authentication",
        "cidrGroupRef",
        "cidrGroupSelector",
        "dns",
        "fromGroups",
        "fromNodes",
        "fromRequires",
        "icmps",
        "kafka",
        "l7",
        "l7proto",
        "listener",
        "log",
        "nodeSelector",
        "originatingTLS",
        "secret",
        "serverNames",
        "terminatingTLS",
        "toFQDNs",
        "toGroups",
        "toNodes",
        "toRequires",
        "toServices",
    }
)
_ONLY_L7_POLICY = frozenset({"action", "datapath", "forward", "name"})


def field_path(path: Path) -> str:
    """``spec.ingress[0].toPorts``, as error messages write it: one line, whatever the keys hold."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part if part.isprintable() else repr(part)
        text += f".{name}" if text else name
    return text


def located(document: Document, path: Path, message: str) -> tuple[int, str]:
    """The line of ``path`` in the document, and the message with the path in front."""
    place = field_path(path)
    return document.line_of(path), f"{place}: {message}" if place else message


def of_validation(
    error: ValidationError, document: Document, known: Container[Path] = ()
) -> Iterator[tuple[int, str]]:
    """(line, message) for every finding, a field that is missing at the line of its parent.

    Findings at a path in ``known`` are left out: they have been reported in better words.
    """
    findings = error.errors(include_url=False)
    # Where an unsupported field stands, the supported one in its place is not missing.
    substituted = {
        finding["loc"][:-1]
        for finding in findings
        if finding["type"] == "extra_forbidden" and finding["loc"][-1] in UNSUPPORTED
    }
    for finding in findings:
        path = tuple(finding["loc"])
        if path in known or (finding["type"] == "missing" and path[:-1] in substituted):
            continue
        # A finding about a mapping's key carries this mark behind the key.
        if path and path[-1] == "[key]":
            path = path[:-1]
        yield located(document, path, _message(finding, path))


def nulls(value: Any, path: Path) -> Iterator[Path]:
    """Every field or item that is there but empty: it could be read as nothing or as all."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from nulls(item, (*path, key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from nulls(item, (*path, at))


def _message(finding: Any, path: Path) -> str:
    match finding["type"]:
        case "extra_forbidden":
            return _unexpected(path)
        case "value_error":
            return str(finding["ctx"]["error"])
        case "missing":
            return "is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a mapping"
        case "list_type":
            return "must be a list"
        case "bool_type":
            return "must be true or false"
        case "too_short":
            return "needs at least one element"
        case "too_long":
            return f"has more than {finding['ctx']['max_length']} elements"
        case "string_too_short":
            return "is empty"
        case "literal_error":
            return f"must be one of {finding['ctx']['expected']}"
        case _:
            message = str(finding["msg"])
            return message[:1].lower() + message[1:]


def _unexpected(path: Path) -> str:
    name = path[-1]
    if name in UNSUPPORTED:
        return "this field of Cilium's schema is not supported"
    if name == "rules" and any(part in ("ingressDeny", "egressDeny") for part in path):
        return "deny rules hold for L3/L4 only and take no rules"
    if name == "HTTP":
        return "the list http is already given"
    if name in _ONLY_L7_POLICY and ("http" in path or "HTTP" in path or "rules" in path):
        return "only kind L7Policy (l7proxy.io/v1alpha1) has this field"
    if name == "audit" and (path[0] == "spec" or len(path) == 3 or isinstance(path[0], int)):
        return "only kind L7Policy (l7proxy.io/v1alpha1) has this field"
    known = _known_fields()
    return "unknown field" if name in known else unknown(str(name), known)


@functools.cache
def _known_fields() -> tuple[str, ...]:
    """The names of all fields that documents have anywhere."""
    models = list(Strict.__subclasses__())
    names: set[str] = set()
    while models:
        model = models.pop()
        models += model.__subclasses__()
        names.update(field.alias or name for name, field in model.model_fields.items())
    return tuple(sorted(names))
