"""JupyterLab in a headless browser, for testing the notebooks' widgets.

    from browser import needs_browser
    pytestmark = needs_browser

    def test_something(lab, page):  # both fixtures are defined here and loaded by tests/conftest.py
        book = lab.open(page, "04_inspect_and_filter")
        book.run_all()
        page.get_by_role("button", name="Drop").click()
        book.picture(tmp_path / "page.png", ".jp-Notebook")

Keys: JupyterLab matches its shortcuts against the focused element before its ancestors, so `data-lm-suppress-shortcuts`
must be set on the focused element itself (on `focusin`), and a focused button must not become disabled.

Requires Debian's chromium (`apt-get install chromium`), or another one whose path is in MENTOR_KD_CHROMIUM; otherwise
the tests are skipped with that reason. No browser is downloaded, and all traffic stays on the loopback interface.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

from mentor_kd.files import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1500, 1100
THEMES = ("JupyterLab Light", "JupyterLab Dark")
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
CURRENT = "window.jupyterapp.shell.currentWidget"


def chromium() -> str | None:
    """Path of chromium on this machine, or None."""
    return os.environ.get("MENTOR_KD_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


needs_browser = pytest.mark.skipif(
    chromium() is None, reason="no chromium on this machine: apt-get install chromium, or set MENTOR_KD_CHROMIUM"
)


@dataclass
class Book:
    """A notebook open in JupyterLab. Methods return when their action is complete, unless documented otherwise."""

    page: Page
    name: str

    def ready(self, timeout: float = 90) -> None:
        """Wait until the notebook is loaded and its kernel responds."""
        self.page.wait_for_function(
            f"{CURRENT}?.context?.path.endsWith({json.dumps(self.name)})", timeout=timeout * 1e3
        )
        self.page.evaluate(f"async () => {{const b = {CURRENT}; await b.context.ready; await b.sessionContext.ready}}")

    def run_all(self, timeout: float = 120) -> None:
        """Run all cells. Raises AssertionError with the error's text if a cell fails."""
        self.start()
        self.finished(timeout)

    def start(self) -> None:
        """Start all cells without waiting, to test what happens while a cell runs."""
        self.command("notebook:run-all-cells", wait=False)

    def finished(self, timeout: float = 120) -> None:
        """Wait until every code cell has run. Raises AssertionError with the error's text if one failed."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            cells = self.code_cells()
            failed = [cell["error"] for cell in cells if cell["error"]]
            assert not failed, f"{self.name}: {failed[0]}"
            if all(cell["count"] for cell in cells):
                return
            self.page.wait_for_timeout(200)
        left = sum(not cell["count"] for cell in cells)
        raise AssertionError(f"{self.name}: {left} of {len(cells)} code cells have not run after {timeout} s")

    def code_cells(self) -> list[dict]:
        """`source`, execution `count` and `error` of each non-empty code cell."""
        return self.page.evaluate(
            f"""() => {CURRENT}.content.model.toJSON().cells.filter(c => c.cell_type === "code" && c.source.length)
            .map(c => {{
                const failed = c.outputs.find(o => o.output_type === "error");
                const error = failed ? failed.ename + ": " + failed.evalue : "";
                return {{source: [].concat(c.source).join(""), count: c.execution_count, error}};
            }})"""
        )

    def cells(self) -> int:
        """Number of cells; a key meant for a widget must not change it."""
        return self.page.evaluate(f"() => {CURRENT}.content.model.cells.length")

    def command(self, name: str, wait: bool = True) -> None:
        """Execute a JupyterLab command."""
        run = f"window.jupyterapp.commands.execute({json.dumps(name)})"
        self.page.evaluate(f"async () => {{await {run}}}" if wait else f"() => {{{run}; return null}}")

    def theme(self, name: str) -> None:
        """Change JupyterLab's theme, one of THEMES."""
        self.page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def picture(self, path: Path, selector: str = "body") -> None:
        """Save a PNG of the first element matching a CSS selector, scrolled into view."""
        self.page.locator(selector).first.screenshot(path=path)

    def restart_kernel(self) -> None:
        """Restart the kernel and clear all outputs, so that only files persist."""
        self.page.evaluate(f"async () => {{await {CURRENT}.sessionContext.session.kernel.restart()}}")
        self.command("notebook:clear-all-cell-outputs")
        self.ready()

    def reload(self) -> None:
        """Reload the page without saving, and wait for the notebook."""
        self.page.evaluate(f"() => {{{CURRENT}.context.model.dirty = false}}")  # else the browser asks to leave
        self.page.reload()
        self.ready()


@dataclass
class Lab:
    """A JupyterLab over a copy of the notebooks; their runs are in `reports`."""

    url: str
    notebooks: Path
    reports: Path

    def open(self, page: Page, name: str) -> Book:
        """Open the copy of notebooks/<name>.ipynb and wait for its kernel."""
        file = f"{name}.ipynb"
        # a new workspace, so that no tab of an earlier test reopens
        page.goto(f"{self.url}/lab/workspaces/{name}-{time.monotonic_ns()}/tree/{file}")
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget", timeout=90e3)
        book = Book(page, file)
        book.ready()
        return book


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _settings(folder: Path) -> None:
    """Turn off news, kernel prompts and dialogs."""
    for name, values in {
        "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/notebook-extension/tracker": {"autoStartDefaultKernel": True, "windowingMode": "none"},
        "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    }.items():
        package, plugin = name.rsplit("/", 1)
        path = folder / package / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def start_lab(folder: Path, reports: Path, **environment: str) -> Iterator[Lab]:
    """Generator for a fixture: a JupyterLab on the loopback interface, with its files in `folder`."""
    books = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", books, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    _settings(folder / "settings")
    private = {f"JUPYTER_{n}_DIR": str(folder / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")}
    private |= {f"JUPYTERLAB_{n}_DIR": str(folder / n.lower()) for n in ("SETTINGS", "WORKSPACES")}
    port = _free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={books}", "--IdentityProvider.token="]
    command += ["--LabApp.expose_app_in_browser=True"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, **private, "MENTOR_KD_REPORTS": str(reports), **environment},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server, folder / "lab.log")
        yield Lab(url, books, reports)
    finally:
        server.terminate()  # also stops its kernels
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen, log: Path, timeout: float = 90) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab ended: {log.read_text()[-2000:]}"
        try:
            with urllib.request.urlopen(f"{url}/api/status", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not answer in {timeout} s: {log.read_text()[-2000:]}")


def requests_outside(page: Page) -> list[str]:
    """A list that collects the address of every request of the page that leaves this machine."""
    found: list[str] = []

    def note(address: str) -> None:
        where = urlsplit(address)
        if where.scheme not in ("data", "blob", "file", "about") and where.hostname not in ("127.0.0.1", "localhost"):
            found.append(address)

    page.on("request", lambda request: note(request.url))
    page.on("websocket", lambda socket: note(socket.url))
    return found


def unreadable(page: Page, selector: str) -> list[str]:
    """Texts in the elements of a CSS selector with a contrast below 4.5 to 1; AssertionError if there is no text."""
    found = [one.evaluate(CONTRAST) for one in page.locator(selector).all()]
    assert sum(one["seen"] for one in found) > 0, f"no text in {selector}"
    return [text for one in found for text in one["bad"]]


def start_page() -> Iterator[Page]:
    """Generator for a fixture: a page in headless chromium, closed afterwards.

    No name but localhost is resolved. Raises AssertionError at the end if the page asked for anything from elsewhere.
    """
    blocked = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox", blocked])
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(30e3)
            page.on("dialog", lambda dialog: dialog.accept())
            outside = requests_outside(page)
            yield page
            assert not outside, f"requests that leave this machine: {outside}"
        finally:
            browser.close()


@pytest.fixture
def lab(tmp_path: Path, reports: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A JupyterLab whose runs, of the smoke size, go to the test's reports folder."""
    monkeypatch.setenv("MENTOR_KD_SMOKE", "1")
    yield from start_lab(tmp_path, reports)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in a headless browser."""
    yield from start_page()
