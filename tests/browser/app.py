"""The real app in a process of its own, as `python app.py` starts it, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class App:
    """One workbench over one workspace. Stopping and starting it again keeps its port, so that a page finds it."""

    def __init__(self, workspace: Path, *arguments: str) -> None:
        self.workspace = workspace
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.arguments = arguments
        self.environment: dict[str, str] = {}
        self.log = workspace.parent / f"{workspace.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 120) -> App:
        """Start it and wait until the page answers."""
        unset = ("SPACE_ID", "WORKBENCH_AUTH", "WORKBENCH_HOME", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS", "1")}
        environment |= self.environment
        command = [sys.executable, "app.py", "--port", str(self.port), "--workspace", str(self.workspace)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=ROOT, stdout=log, stderr=log, env=environment
            )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the app ended by itself:\n{self.log.read_text()}")
            try:
                urllib.request.urlopen(self.url, timeout=10).read()
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"the page did not answer within {seconds} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        """End it as a person would, by a signal that lets it close."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the app did not end on {how.name}:\n{self.log.read_text()}") from None
        finally:
            self.process = None
