"""A real Prometheus with monitoring/prometheus.yml, its data in a folder of the test's own."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.agent.nodes import PATIENCE
from tests.monitoring.files import FOLDER
from tests.support.waiting import eventually

_INTERVAL = "200ms"


class Prometheus:
    """Scrapes ``target`` five times a second, and evaluates the rules as often."""

    def __init__(self, folder: Path, target: str) -> None:
        config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        config["global"] = dict.fromkeys(config["global"], _INTERVAL)
        config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
        [job] = config["scrape_configs"]
        job["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Prometheus:
        try:
            eventually(self._is_ready, PATIENCE)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def query(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """The value now of every series, by its labels. Fails if Prometheus takes it for wrong."""
        document = self._get("/api/v1/query", query=expression)
        return {
            frozenset(each["metric"].items()): float(each["value"][1])
            for each in document["data"]["result"]
        }

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its state."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=PATIENCE):
                return True
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        url = f"http://{self._address}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                document: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert document["status"] == "success", document
        return document

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
