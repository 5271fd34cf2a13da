"""Take the README's pictures from the real page, on a workspace that `python -m workbench demo` has made.

    python docs/take_screenshots.py [--workspace DIR]

Without `--workspace` the demo is run first (some minutes). Writes docs/screenshots/*.png.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "screenshots"
WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the page answers; raise RuntimeError when its process ends first."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError(f"the page's process ended with {process.returncode}")


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.wait_for_timeout(4000)  # answers are written, charts are drawn


def take(page: Page, name: str, full: bool = False) -> None:
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path, full_page=full)
    print(path.relative_to(ROOT))


def pictures(page: Page) -> None:
    """The four tabs at laptop width, the train tab in full length."""
    for name in ("Demonstrate", "Rank"):
        open_tab(page, name)
        take(page, name.lower())
    open_tab(page, "Train")
    take(page, "train", full=True)
    open_tab(page, "Compare")
    page.get_by_role("button", name="Ask both").click()
    page.wait_for_timeout(5000)
    page.keyboard.press("2")  # a vote shows which model wrote which
    page.get_by_role("button", name="Measure on 100 held-out prompts").click()
    page.wait_for_selector(".wb-measured .wb-chart", timeout=120_000)
    page.wait_for_timeout(3000)
    take(page, "compare", full=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, help="a workspace the demo has filled; it is copied, not changed")
    flags = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")

    with tempfile.TemporaryDirectory() as scratch:
        workspace = Path(scratch) / "workspace"
        if flags.workspace:
            shutil.copytree(flags.workspace, workspace)
        else:
            subprocess.run([sys.executable, "-m", "workbench", "demo", "--workspace", workspace], cwd=ROOT, check=True)
        port = free_port()
        command = [sys.executable, "app.py", "--port", str(port), "--workspace", str(workspace)]
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"})
        address = f"http://127.0.0.1:{port}/"
        try:
            wait_for(address, server)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
                wide = browser.new_context(viewport=WIDE, color_scheme="light").new_page()
                wide.goto(address)
                wide.wait_for_timeout(15_000)  # the model loads in the background
                pictures(wide)
                dark = browser.new_context(viewport=WIDE, color_scheme="dark").new_page()
                dark.goto(address)
                open_tab(dark, "Rank")
                take(dark, "rank_dark")
                phone = browser.new_context(viewport=PHONE, has_touch=True, device_scale_factor=2).new_page()
                phone.goto(address)
                open_tab(phone, "Rank")
                take(phone, "rank_phone")
                browser.close()
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
