"""A real Chromium before the real app. Any console error and any request to another host fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from tests.browser.app import App

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OFFLINE = ("Failed to load resource", "net::ERR_")  # what a browser says by itself when it finds no server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.browser)


def missing(why: str) -> None:
    """With CI=true a browser test that cannot run is a failure, else a skip that says why."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(why)
    pytest.skip(why)


def needed(module: str) -> ModuleType:
    """The module, or no test."""
    try:
        return import_module(module)
    except ImportError as error:
        missing(f"{error}: pip install -r requirements-dev.txt")
        raise


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: the system's, else Playwright's own. Without one: a failure with CI=true, else a skip."""
    playwright = needed("playwright.sync_api")
    with playwright.sync_playwright() as started:
        executable = next(filter(None, map(shutil.which, NAMES)), None) or started.chromium.executable_path
        if not Path(executable).exists():
            missing(
                f"no Chromium: looked for {', '.join(NAMES)} on the path and for Playwright's own. "
                "Install one: apt install chromium, or playwright install chromium"
            )
        opened = started.chromium.launch(executable_path=executable, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One app for a file of tests, over a workspace of its own."""
    server = App(tmp_path_factory.mktemp("app") / "workspace").start()
    yield server
    server.stop()


@pytest.fixture
def own_app(tmp_path: Path) -> Iterator[App]:
    """An app for one test alone, over an empty workspace."""
    server = App(tmp_path / "workspace").start()
    yield server
    server.stop()


@dataclass
class Seen:
    """What a page did that it must not. `allowed` holds parts of console texts that a test provokes on purpose."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def check(self) -> None:
        bad = [text for text in self.errors if not any(part in text for part in self.allowed)]
        assert not bad, f"console errors: {bad}"
        assert not self.strangers, f"requests to other hosts: {self.strangers}"


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """open_page(url, width=1280, height=820, dark=False, **context) -> a page; `page.seen.allowed` may be filled."""
    opened = []

    def open_(url: str, width: int = 1280, height: int = 820, dark: bool = False, **more):
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.seen = watch(page, url)
        opened.append((context, page))
        page.goto(url)
        page.wait_for_selector(".wb-steps li", state="attached")
        return page

    yield open_
    for context, page in opened:
        context.close()
        page.seen.check()


def watch(page, url: str) -> Seen:
    """Collect console errors, uncaught exceptions and requests to any other host."""
    seen = Seen()
    home = urlsplit(url).netloc

    def asked(request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != home:
            seen.strangers.append(request.url)

    page.on("request", asked)
    page.on(
        "websocket", lambda socket: seen.strangers.append(socket.url) if urlsplit(socket.url).netloc != home else None
    )
    page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    return seen


@pytest.fixture
def held() -> Callable:
    """with held(page, "plan"): the server's answers to that call wait until the block ends, as on a slow line."""

    @contextmanager
    def hold(page, name: str) -> Iterator[None]:
        waiting, holding = [], True

        def keep(route) -> None:
            if holding and f'"wb_{name}"' in (route.request.post_data or ""):
                waiting.append(route)
            else:
                route.continue_()

        page.route("**/component_server/**", keep)
        page.reload()
        while not waiting:
            page.wait_for_timeout(20)
        yield
        holding = False
        for route in waiting:
            route.continue_()

    return hold


@pytest.fixture
def slow() -> Callable:
    """slow(page): 600 ms are added to everything that it asks of the server."""

    def slow_down(page, milliseconds: int = 600) -> None:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        conditions = {"offline": False, "latency": milliseconds, "downloadThroughput": -1, "uploadThroughput": -1}
        session.send("Network.emulateNetworkConditions", conditions)

    return slow_down


@pytest.fixture
def drop() -> Callable:
    """drop(page, name, text): a file is dragged over the page and dropped, as far as its own scripts can tell."""

    def drop_file(page, name: str, text: str) -> None:
        make = "([name, text]) => { const t = new DataTransfer(); t.items.add(new File([text], name)); return t; }"
        transfer = page.evaluate_handle(make, [name, text])
        page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
        page.wait_for_selector("text=Drop the file to import it")
        page.dispatch_event("body", "drop", {"dataTransfer": transfer})

    return drop_file


@pytest.fixture
def no_faults() -> Callable:
    """no_faults(page): axe-core finds nothing serious in our parts of the page (WCAG 2.2 A and AA)."""

    def check(page) -> None:
        axe = needed("axe_playwright_python.sync_playwright")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        results = axe.Axe().run(page, context=".gradio-container", options={"runOnly": {"type": "tag", "values": tags}})
        serious = [
            f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:160] for node in each['nodes'][:4]]}"
            for each in results.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious, "\n".join(serious)

    return check
