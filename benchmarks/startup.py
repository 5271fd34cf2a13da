"""Claim: the page answers within 1.4 times the time of an empty Gradio page.

Starts `python app.py` and an empty `gr.Blocks` in turn, each as a fresh process, and times from the start of the
process to the first 200 of `GET /`. Prints a table; `--json FILE` writes it.

    python benchmarks/startup.py --runs 5
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
EMPTY = (
    "import gradio as gr\nwith gr.Blocks() as page: gr.Markdown('empty')\npage.launch(server_port={port}, quiet=True)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds_to_answer(command: list[str], port: int, environment: dict[str, str]) -> float:
    """Seconds from the start of the process until `GET /` answers 200; raises RuntimeError when it ends before."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                    answer.read()
                    return time.perf_counter() - began
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        raise RuntimeError(f"{command[0:3]} ended with {process.returncode} before its page answered")
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="counted starts of each, after one warm-up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    flags = parser.parse_args()

    times: dict[str, list[float]] = {"empty": [], "workbench": []}
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "WORKBENCH_HOME": home}
        for run in range(flags.runs + 1):
            for name in times:
                port = free_port()
                empty = [sys.executable, "-c", EMPTY.format(port=port)]
                ours = [sys.executable, "app.py", "--port", str(port)]
                took = seconds_to_answer(empty if name == "empty" else ours, port, environment)
                if run:  # the first start of each fills the disk's cache
                    times[name].append(took)

    ratios = [ours / empty for ours, empty in zip(times["workbench"], times["empty"], strict=True)]
    print(f"{'page':<12}{'min s':>8}{'median s':>10}{'max s':>8}")
    for name, values in times.items():
        print(f"{name:<12}{min(values):>8.2f}{statistics.median(values):>10.2f}{max(values):>8.2f}")
    print(f"ratio, pair by pair: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    if flags.json:
        flags.json.write_text(json.dumps({"seconds": times, "ratio": statistics.median(ratios)}, indent=2))


if __name__ == "__main__":
    main()
