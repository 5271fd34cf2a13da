"""Claims: after a vote the next pair is there within a tenth of a second, and a started run draws its first point within
three seconds. Both are timed by the page itself, from the key or the click to what it then shows, in a real Chromium
before the real app.

    python -m benchmarks.page [--votes 30] [--starts 3] [--json FILE]

The vote is stored meanwhile; the next pair does not wait for it. Each start is of an app of its own: training is
warmed up while somebody looks at the page, so the click comes `WARM` seconds after the page has opened.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.app import App
from tests.browser.conftest import FLAGS, NAMES
from tests.browser.test_loop import POINTS, RANK_READY, open_rank, write_one
from workbench import settings
from workbench.jobs import control
from workbench.jobs.runs import list_runs

WARM = 20.0
# From an event until a condition holds, looked at before each frame; in milliseconds.
TIMED = """([event, act, holds]) => new Promise((done) => {
  addEventListener(event, () => {
    const began = performance.now(), look = () => (eval(holds) ? done(performance.now() - began) : requestAnimationFrame(look));
    requestAnimationFrame(look);
  }, { once: true, capture: true });
  eval(act);
})"""
VOTE = "dispatchEvent(new KeyboardEvent('keydown', { key: '1', bubbles: true, cancelable: true }))"
CLICK = "document.querySelector('.wb-start').click()"
START = ".wb-start:not([disabled])"


@contextmanager
def page_of(browser: Any) -> Iterator[tuple[App, Any]]:
    """A new app over an empty workspace, and its page."""
    with tempfile.TemporaryDirectory() as home:
        app = App(Path(home) / "workspace").start()
        page = browser.new_page(viewport={"width": 1280, "height": 820})
        page.set_default_timeout(120_000)
        page.goto(app.url)
        try:
            yield app, page
        finally:
            page.close()
            for run in list_runs(app.workspace):
                control.stop(settings.load(app.workspace), run)
            app.stop()


def votes(browser: Any, n: int) -> list[float]:
    """Milliseconds from a vote's key to the next pair, ready for a vote."""
    with page_of(browser) as (_, page):
        page.get_by_role("button", name="Start with 30 sample prompts").click()
        page.wait_for_selector("#wd-field")
        open_rank(page)
        took: list[float] = []
        while len(took) < n:
            page.wait_for_function(RANK_READY)
            page.wait_for_timeout(400)  # a person reads
            page.evaluate("window.was = document.querySelector('.wr-prompt').textContent")
            other = f"document.querySelector('.wr-prompt').textContent !== window.was && {RANK_READY}"
            took.append(page.evaluate(TIMED, ["keydown", f"document.body.{VOTE}", other]))
    return took


def starts(browser: Any, n: int) -> list[float]:
    """Seconds from the click on Start to the first point of SFT's curve."""
    took = []
    for _ in range(n):
        with page_of(browser) as (_, page):
            write_one(page)
            page.get_by_role("tab", name="Train").click()
            page.wait_for_selector(START)
            page.wait_for_timeout(1000 * WARM)
            took.append(page.evaluate(TIMED, ["submit", CLICK, f"{POINTS} > 0"]) / 1000)
    return took


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=30)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        rows = {
            "vote to next pair, ms": votes(browser, args.votes),
            "click on Start to first point, s": starts(browser, args.starts),
        }
        browser.close()
    print(f"{'':<34}{'n':>4}{'median':>9}{'max':>9}")
    for name, values in rows.items():
        print(f"{name:<34}{len(values):>4}{statistics.median(values):>9.2f}{max(values):>9.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
