"""Claim: 1,000 PPO iterations at batch 32 take under 12 minutes, the job's memory stays flat, and the page is as quick
at the end as at first. It holds on two cores of an Intel with AMX: 10.6 minutes, 730, 750 and 750 MB at steps 68, 520
and 973; on an AMD 6.3 to 8.4 minutes.

Starts a PPO run on the bundled model (reward: gold) and the real page over the same workspace, with its Train tab open
in a real Chromium. Early in the run and again near its end it notes the job's memory, the longest gaps between two
frames that the page draws while its curves grow, and how long the page takes to open anew.

    python -m benchmarks.long_run [--steps 1000] [--batch 32] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.browser.app import App
from tests.browser.conftest import FLAGS, NAMES
from workbench import settings
from workbench.jobs import control
from workbench.jobs.runs import Run, find_run
from workbench.learn.catalogue import parse
from workbench.sandbox import world
from workbench.store import Store

PROMPTS = 1_500
RSS_SECONDS = 12
FRAMES = """async (seconds) => {
  const gaps = []; let last = performance.now(); const end = last + 1000 * seconds;
  await new Promise((done) => {
    const frame = (now) => { gaps.push(now - last); last = now; now < end ? requestAnimationFrame(frame) : done(); };
    requestAnimationFrame(frame);
  });
  return gaps;
}"""


def start(place: Path, steps: int, batch: int) -> Run:
    """A PPO run on the gold reward, as the page would start it."""
    made = settings.load(place)
    made.workspace.mkdir(parents=True, exist_ok=True)
    with Store(made.database) as store:
        asked = world.sample(PROMPTS, "train", seed=0)
        store.add_prompts([p.text for p in asked], "sandbox", [p.kind for p in asked])
        values = {"steps": steps, "batch_size": batch, "reward": "gold"}
        return control.launch(made, store, "ppo", parse("ppo", values))


def opened(browser: Any, url: str) -> tuple[Any, float]:
    """The Train tab with its curves drawn, and the seconds from the request to the first curve."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(f"{url}#train")
    page.wait_for_selector(".wb-chart-plot svg.main-svg", timeout=120_000)
    return page, time.perf_counter() - began


def most_memory(pid: int) -> float:
    """The most MB the process holds within some rounds: more in the middle of one, less after memory was given back."""
    process, sizes = psutil.Process(pid), []
    with contextlib.suppress(psutil.NoSuchProcess):  # a short run may end meanwhile
        for _ in range(10 * RSS_SECONDS):
            sizes.append(process.memory_info().rss / 2**20)
            time.sleep(0.1)
    return max(sizes)


def look(browser: Any, app: App, run: Run, seconds: float) -> dict[str, float]:
    """Memory of the job, and what the page feels like, at this moment of the run."""
    page, opening = opened(browser, app.url)
    page.wait_for_timeout(2_000)
    gaps = sorted(page.evaluate(FRAMES, seconds))
    page.close()
    now = find_run(run.folder.parent.parent, run.number)
    return {
        "step": now.status.step,
        "rss_mb": round(most_memory(now.status.pid or 0)),
        "page_opens_s": round(opening, 2),
        "frame_gap_median_ms": round(statistics.median(gaps), 1),
        "frame_gap_p99_ms": round(gaps[int(0.99 * (len(gaps) - 1))], 1),
        "frame_gap_max_ms": round(gaps[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long frames are watched at each look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    flags = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        place = Path(home) / "workspace"
        run = start(place, flags.steps, flags.batch)
        app = App(place).start()
        found = next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        looks: list[dict[str, float]] = []
        try:
            for share in (0.05, 0.5, 0.95):
                while (now := find_run(place, run.number)).active and (now.status.step) < share * flags.steps:
                    time.sleep(0.5)
                if now.active:
                    looks.append(look(browser, app, run, flags.seconds))
                    print("  ".join(f"{key} {value}" for key, value in looks[-1].items()), flush=True)
            done = control.wait(place, run.number)
        finally:
            browser.close()
            app.stop()
            if find_run(place, run.number).active:
                control.stop(settings.load(place), find_run(place, run.number))
        if done.state != "done" or done.result is None:
            sys.exit(f"the run ended {done.state}: {done.status.message}\n{done.log_tail()}")
        rows, _ = done.metrics(0)
        each = [sum(row[f"seconds_{p}"] for p in ("generate", "score", "update")) for row in rows if "reward" in row]
        tenth = max(1, len(each) // 10)
        result = {
            "steps": flags.steps,
            "batch": flags.batch,
            "minutes": round(done.result["seconds"] / 60, 2),
            "train_minutes": round(done.result["train_seconds"] / 60, 2),
            "step_first_tenth_s": round(statistics.median(each[:tenth]), 3),
            "step_last_tenth_s": round(statistics.median(each[-tenth:]), 3),
            "peak_mb": done.result["peak_mb"],
            "gold": done.result["gold"],
            "base_gold": done.result["base_gold"],
            "looks": looks,
        }
    for key, value in result.items():
        if key != "looks":
            print(f"{key:20} {value}")
    if flags.json:
        flags.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
