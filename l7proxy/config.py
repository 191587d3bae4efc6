"""The node configuration, ``l7proxy.yaml``: every field optional, every mistake named."""

from __future__ import annotations

import dataclasses
import re
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    StrictBool,
    StrictInt,
    ValidationError,
    create_model,
)

from l7proxy import yaml_lines
from l7proxy.file_errors import FileError, FileErrors, reason, unknown
from l7proxy.limits import Limits
from l7proxy.proxy.ports import Endpoint

DEFAULT_FILES = (Path("l7proxy.yaml"), Path("/etc/l7proxy/l7proxy.yaml"))

STREAMS = ("stdout", "stderr", "off")
"""What ``access_log`` may be instead of a file."""

_PYDANTIC = re.compile(r"\b(Input|String) should\b")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IN_WORDS = {
    "model_type": "must be a map of fields",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
}
_MAX_DEPTH = 16
_MAX_VALUES = 10_000


class ConfigErrors(FileErrors):
    """The configuration cannot be used."""


def parse_endpoint(text: str) -> Endpoint:
    """``127.0.0.1:80`` or ``[::1]:80``. Raises ValueError with what is expected."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        number = int(port) if port.isascii() and port.isdigit() else -1
        if not colon or not 0 <= number <= 65535 or bracketed != (address.version == 6):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"must be an IP address and a port, as 127.0.0.1:8000 or [::1]:8000, not {text!r}"
        ) from None
    return Endpoint(address, number)


def _endpoint(value: Any) -> Any:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text, as 127.0.0.1:8000")
    return parse_endpoint(value)


def _target(value: Endpoint) -> Endpoint:
    if value.port == 0:
        raise ValueError("must have a port from 1 to 65535")
    return value


def _off(value: Any) -> Any:
    """``off``, which YAML reads as false, stands for None."""
    return None if value is False or value == "off" else value


def _log(value: Any) -> Any:
    return "off" if value is False else value


def _workload_id(value: str) -> str:
    """``name`` is ``default/name``."""
    namespace, _, name = value.rpartition("/")
    if not name or "/" in namespace:
        raise ValueError("must be a workload's name or namespace/name")
    return f"{namespace or 'default'}/{name}"


def _header(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("must be the name of a header")
    return value.lower()


def _cgroup(value: str) -> Path | None:
    if value == "auto":
        return None
    path = Path(value)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("must be auto or the absolute path of a cgroup v2 folder")
    return path


_AnyEndpoint = Annotated[InstanceOf[Endpoint], BeforeValidator(_endpoint)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Listener(_Section):
    """An explicit reverse-proxy listener: what arrives at ``address`` is for ``workload``.

    Port 0 in ``address`` takes any free port.
    """

    address: _AnyEndpoint
    to: Annotated[_AnyEndpoint, AfterValidator(_target)]
    workload: Annotated[str, AfterValidator(_workload_id)]


class ProxySection(_Section):
    """The user-space proxy: worker processes, and listeners for userspace mode."""

    workers: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    listen: tuple[Listener, ...] = ()


class MetricsSection(_Section):
    """Where Prometheus may ask; None (``off``): nowhere."""

    listen: Annotated[_AnyEndpoint | None, BeforeValidator(_off)] = Field(
        default_factory=lambda: parse_endpoint("127.0.0.1:9965")
    )


class RedactSection(_Section):
    """What is kept out of flow records: values of headers, and what follows the path of a URL."""

    headers: tuple[Annotated[str, AfterValidator(_header)], ...] = ()
    query: StrictBool = False


class FlowsSection(_Section):
    """Flow records, wherever they go: access log, observe, the agent's page."""

    redact: RedactSection = RedactSection()


# Bounds of the limits: below, nothing would work; above, the limit would limit nothing.
_COUNT = (1, 2**31 - 1)
_SECONDS = (0.001, 86400.0)
_RANGES: dict[str, tuple[float, float]] = {
    "head_bytes": (1024, 2**20),
    "target_bytes": (64, 2**20),
    "body_buffer": (4096, 2**26),
    "redirect_credit": (4096, 2**30),
    "flow_queue_bytes": (65536, 2**30),
}


def _limits_model() -> type[BaseModel]:
    """A model with a field for each limit, of its type, default and range."""
    fields: dict[str, Any] = {}
    for limit in dataclasses.fields(Limits):
        whole = isinstance(limit.default, int)
        low, high = _RANGES.get(limit.name, _COUNT if whole else _SECONDS)
        kind = StrictInt if whole else Annotated[float, Field(strict=True)]
        fields[limit.name] = (Annotated[kind, Field(ge=low, le=high)], limit.default)
    return create_model("LimitsSection", __base__=_Section, **fields)


_LimitsSection = _limits_model()


def _limits(value: Any) -> Any:
    if isinstance(value, Limits):
        return value
    limits = Limits(**_LimitsSection.model_validate(value).model_dump())
    if limits.target_bytes >= limits.head_bytes:
        raise ValueError("target_bytes must be less than head_bytes, which holds the target")
    return limits


class Config(_Section):
    """A whole configuration. Paths are absolute, or relative to the working directory.

    ``access_log`` is one of STREAMS or the path of a file.
    """

    node: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        default_factory=socket.gethostname
    )
    policies: Path = Path("policies")
    workloads: Path = Path("workloads.yaml")
    datapath: Literal["auto", "ebpf", "userspace"] = "auto"
    cgroup: Annotated[InstanceOf[Path] | None, BeforeValidator(lambda v: v and _cgroup(str(v)))] = (
        None
    )
    state: Path = Path("/run/l7proxy")
    bpffs: Path = Path("/sys/fs/bpf/l7proxy")
    cache: Path = Path("/var/cache/l7proxy")
    proxy: ProxySection = ProxySection()
    metrics: MetricsSection = MetricsSection()
    access_log: Annotated[str, BeforeValidator(_log), Field(min_length=1)] = "stdout"
    flows: FlowsSection = FlowsSection()
    limits: Annotated[InstanceOf[Limits], BeforeValidator(_limits)] = Limits()

    def cgroup_folder(self) -> Path | None:
        """The cgroup v2 folder that is covered; None if none is set and none is mounted."""
        return self.cgroup or find_cgroup2()

    @property
    def admin_socket(self) -> Path:
        """The Unix socket on which the running agent answers the commands."""
        return self.state / "admin.sock"


def find_cgroup2(mounts: Path = Path("/proc/mounts")) -> Path | None:
    """Where cgroup v2 is mounted, which need not be /sys/fs/cgroup; None if nowhere."""
    for line in mounts.read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if kind == "cgroup2":
            # Spaces and the like are written as octal escapes.
            return Path(mount.encode().decode("unicode_escape"))
    return None


def find_file() -> Path | None:
    """The configuration that is used when none is named: here, then in /etc."""
    return next((path for path in DEFAULT_FILES if path.exists()), None)


def load(path: Path | None) -> Config:
    """The configuration in the file ``path``; all defaults for None.

    Relative paths in the file start at the file's folder. Raises ConfigErrors.
    """
    if path is None:
        return Config()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _errors(path, 0, f"cannot be read: {reason(error)}") from None
    return parse(text, path)


def parse(text: bytes, path: Path) -> Config:
    """The configuration in ``text``; ``path`` is its file's. Raises ConfigErrors."""
    try:
        documents = list(yaml_lines.load(text, max_depth=_MAX_DEPTH, max_values=_MAX_VALUES))
    except yaml_lines.YamlError as error:
        raise _errors(path, error.line, error.message) from None
    if not documents:
        return Config.model_validate(_with_places({}, path.parent))
    if len(documents) > 1:
        raise _errors(path, documents[1].line, "a second document: there can be one only")
    document = documents[0]
    if not isinstance(document.value, dict):
        raise _errors(path, document.line, "must be a map of fields, as node: worker-1")
    # A field without a value means the default.
    given = {name: value for name, value in document.value.items() if value is not None}
    try:
        return Config.model_validate(_with_places(given, path.parent))
    except ValidationError as error:
        raise ConfigErrors(
            [_file_error(path, document, dict(fault)) for fault in error.errors()]
        ) from None


def _with_places(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``given`` with its relative paths, also the default ones, put below ``folder``."""
    placed = dict(given)
    for name in ("policies", "workloads", "state", "bpffs", "cache"):
        value = given.get(name, Config.model_fields[name].default)
        if isinstance(value, str | Path):
            placed[name] = folder / value
    log = given.get("access_log")
    if isinstance(log, str) and log and log not in STREAMS:
        placed["access_log"] = str(folder / log)
    return placed


def _file_error(path: Path, document: yaml_lines.Document, fault: dict[str, Any]) -> FileError:
    where: tuple[str | int, ...] = fault["loc"]
    message: str = fault["msg"]
    if fault["type"] == "extra_forbidden":
        message = unknown(str(where[-1]), _known(where[:-1]))
    message = _IN_WORDS.get(fault["type"], message)
    message = _PYDANTIC.sub("must", message.removeprefix("Value error, "))
    return FileError(str(path), document.line_of(where), f"{_dotted(where)}: {message}")


def _known(where: tuple[str | int, ...]) -> list[str]:
    """The names of the fields that the section at ``where`` has."""
    sections: dict[tuple[str | int, ...], type[BaseModel]] = {
        (): Config,
        ("proxy",): ProxySection,
        ("metrics",): MetricsSection,
        ("flows",): FlowsSection,
        ("flows", "redact"): RedactSection,
        ("limits",): _LimitsSection,
        ("proxy", "listen"): Listener,
    }
    model = sections.get(tuple(part for part in where if isinstance(part, str)))
    return list(model.model_fields) if model else []


def _dotted(where: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return text.removeprefix(".")


def _errors(path: Path, line: int, message: str) -> ConfigErrors:
    return ConfigErrors([FileError(str(path), line, message)])
