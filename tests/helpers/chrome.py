"""A small WebDriver client: headless Chromium through chromedriver, without a package."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

MISSING = next((f"{name} is not installed" for name in ("chromium", "chromedriver") if not shutil.which(name)), "")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
KEYS = {"Right": "\ue014", "Left": "\ue012", "Escape": "\ue00c", "Tab": "\ue004", "Enter": "\ue007"}


class Chrome:
    """One browser window. ``profile`` is an empty folder for its user data."""

    def __init__(self, profile: Path):
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        told = next(line for line in self.driver.stdout if "successfully on port" in line)
        port = told.rsplit(" ", 1)[1].strip(" .\n")
        self.address = f"http://127.0.0.1:{port}"
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/session/{session['sessionId']}"

    def close(self) -> None:
        self._call("DELETE", "")
        self.driver.terminate()
        self.driver.wait()
        self.driver.stdout.close()

    def _call(self, method: str, path: str, body: dict | None = None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.read()[:500].decode(errors='replace')}") from error

    def open(self, page: Path, hash_: str = "") -> None:
        self._call("POST", "/url", {"url": "about:blank"})  # so that another hash loads the page anew
        self._call("POST", "/url", {"url": page.resolve().as_uri() + hash_})

    def run(self, script: str):
        """The value of a JavaScript function body."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def devtools(self, command: str, **params):
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=mobile)  # fmt: skip

    def colours(self, scheme: str) -> None:
        """'light' or 'dark'."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def press(self, *keys: str) -> None:
        """Keys by their name in KEYS, or characters, one after the other, to the element that has the focus."""
        steps = []
        for key in keys:
            steps += [{"type": kind, "value": KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": steps}]})

    def click(self, selector: str) -> None:
        (element,) = self._call("POST", "/element", {"using": "css selector", "value": selector}).values()
        self._call("POST", f"/element/{element}/click")

    def until(self, script: str):
        """The value of ``script`` once it is true, within 10 seconds."""
        end = time.monotonic() + 10
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"not true after 10 seconds: {script}"
            time.sleep(0.05)
        return value

    def messages(self) -> list[str]:
        """What the console got since the last call: errors, and resources that were refused or not found."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path, whole: bool = False) -> None:
        content = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(content))
