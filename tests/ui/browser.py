"""Headless Chromium, driven over the DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from select import select
from typing import Any

_SECONDS = 30.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and writes answers to 4, whatever these are here.
_WITH_PIPES = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One browser with one page. A context manager; leaving it ends the browser."""

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        launch = [sys.executable, "-c", _WITH_PIPES, str(commands), str(answers)]
        self._process = subprocess.Popen(
            [*launch, "chromium", *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._loaded = False
        self._session: str | None = None
        self.problems: list[str] = []
        """What the page complained of: exceptions, console errors, requests to elsewhere."""
        self.requested: list[str] = []

    def __enter__(self) -> Browser:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = session["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._commands)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)

    def call(self, method: str, **parameters: Any) -> Any:
        """One command and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self._notice(found)

    def open(self, url: str) -> None:
        """Go to a page, and come back when it has loaded."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._notice(self._receive())

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + _SECONDS
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.text()[:2000]}"
            time.sleep(0.02)
        return value

    def text(self) -> str:
        """The page as it reads."""
        found = self.run("document.body.innerText")
        assert isinstance(found, str)
        return found

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of an element; the mouse is elsewhere afterwards."""
        place = self.run(
            "(e => { e.scrollIntoView({ block: 'nearest' });"
            " const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        told = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **told)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, where the focus is."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, **features: str) -> None:
        """Media features, as ``prefers_color_scheme="dark"``."""
        told = [{"name": name.replace("_", "-"), "value": each} for name, each in features.items()]
        self.call("Emulation.setEmulatedMedia", features=told)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """The page as a PNG; ``whole``: also what is below the window."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select([self._answers], [], [], _SECONDS)
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _notice(self, event: Any) -> None:
        match event.get("method"), event.get("params"):
            case "Page.loadEventFired", _:
                self._loaded = True
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.problems.append(json.dumps(details))
            case "Log.entryAdded", {"entry": {"level": "error" | "warning"} as entry}:
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")
            case "Network.requestWillBeSent", {"request": {"url": url}}:
                self.requested.append(url)
