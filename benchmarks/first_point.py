"""Claim: a started job's first point is on the page within 3 s of the click.

Starts the real page over a workspace with sample demonstrations, waits until its standby process is ready, clicks
Start in a real Chromium, and times until a chart holds a point. Also times a vote to the next pair in the page.

    python benchmarks/first_point.py --runs 5
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.app import App  # noqa: E402

POINTS = "[...document.querySelectorAll('.wb-run .js-plotly-plot')].flatMap(p => p.data).some(t => t.x.length > 0)"
RANK_READY = "document.querySelector('.wr-prompt')?.textContent && !document.querySelector('.wr-choice').disabled"
# From the key to the frame after the one in which the next prompt stands on the page.
VOTE = """key => new Promise(done => {
  const prompt = document.querySelector('.wr-prompt'), answers = () => [...document.querySelectorAll('.wr-text')].map(n => n.textContent).join('|');
  const before = prompt.textContent + answers(), began = performance.now();
  const look = () => prompt.textContent + answers() !== before && !document.querySelector('.wr-choice').disabled
    ? requestAnimationFrame(() => done(performance.now() - began)) : requestAnimationFrame(look);
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  look();
})"""


def first_point(page: Page, url: str) -> float:
    """Seconds from the click on Start to the first point in a chart of the new run."""
    page.goto(f"{url}#train")
    page.locator(".wb-method", has_text="SFT").click()
    start = page.locator(".wb-start:not([disabled])")
    start.wait_for()
    page.wait_for_timeout(15_000)  # the standby process imports torch and trl meanwhile
    page.evaluate("document.querySelectorAll('.wb-run .js-plotly-plot').forEach(plot => plot.remove())")
    began = time.perf_counter()
    start.click()
    page.wait_for_function(POINTS)
    took = time.perf_counter() - began
    page.wait_for_selector(".wb-run >> text=Done in", timeout=180_000)
    return took


def votes(page: Page, url: str, n: int) -> list[float]:
    """Milliseconds from each vote to the next pair painted."""
    page.goto(f"{url}#rank")
    page.wait_for_selector(".wr-instead .wb-empty, .wr-prompt:not([hidden])")
    if page.locator(".wr-instead .wb-empty").count():
        page.get_by_role("button", name="Write answers").click()
    took = []
    for turn in range(n):
        page.wait_for_function(RANK_READY)
        page.wait_for_timeout(700)  # nobody reads two answers faster
        took.append(page.evaluate(VOTE, "12"[turn % 2]))
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="starts to time")
    parser.add_argument("--votes", type=int, default=30, help="votes to time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        workspace = Path(scratch) / "workspace"
        rows = ROOT / "sample_data" / "demonstrations_trl.jsonl"
        command = [sys.executable, "-m", "workbench", "import", str(rows), "--workspace", str(workspace)]
        subprocess.run(command, cwd=ROOT, check=True)
        app = App(workspace).start()
        try:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            page = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()
            page.set_default_timeout(120_000)
            milliseconds = votes(page, app.url, flags.votes)
            # a new page each time: it must find the run by itself
            seconds = [first_point(page, app.url) for _ in range(flags.runs)]
        finally:
            app.stop()
    print(
        f"first point after Start, s: median {statistics.median(seconds):.2f}, max {max(seconds):.2f}, n {len(seconds)}"
    )
    p95 = sorted(milliseconds)[int(0.95 * (len(milliseconds) - 1))]
    print(
        f"vote to next pair, ms: median {statistics.median(milliseconds):.0f}, p95 {p95:.0f}, "
        f"max {max(milliseconds):.0f}, n {len(milliseconds)}"
    )
    if flags.json:
        flags.json.write_text(json.dumps({"first_point_s": seconds, "vote_ms": milliseconds}, indent=2))


if __name__ == "__main__":
    main()
