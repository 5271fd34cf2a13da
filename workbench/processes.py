"""Processes of our own and the small files they leave: start, recognise, end; one kept warm for the next job.

On Windows there are no sessions and no signals to a group: a job is detached from our console instead, and ended with
the tree of processes below it. Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def popen(command: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a process of ours apart from our session, or our console on Windows, so that it outlives both."""
    root = str(Path(__file__).parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    env = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}  # trl reports home otherwise
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        return subprocess.Popen(command, env=env, creationflags=flags, **streams)
    return subprocess.Popen(command, env=env, start_new_session=True, **streams)


@contextlib.contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Hold the workspace's runs against every other thread and process that starts, stops or numbers runs."""
    folder = workspace / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock  # takes longer to import than `--help` does to answer

    with FileLock(folder / ".lock", poll_interval=0.01):
        yield


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object, {} when the file is missing or torn."""
    try:
        document = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def write_atomic(file: Path, text: str, durable: bool = True) -> None:
    """Replace a file in one step, so that a reader or a crash sees the old or the new one whole."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with fresh.open("w", encoding="utf-8") as f:
            f.write(text)
            if durable:
                f.flush()
                os.fsync(f.fileno())
    except OSError:  # a full disk, say
        fresh.unlink(missing_ok=True)
        raise
    _replace(fresh, file)


def _replace(fresh: Path, file: Path, patience: float = 2.0) -> None:
    """`fresh` takes the place of `file`; Windows refuses that while somebody has `file` open, so there it is tried again for `patience` s."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fresh.replace(file)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                fresh.unlink(missing_ok=True)
                raise
            time.sleep(0.01)


def write_status(folder: Path, **changes: Any) -> dict[str, Any]:
    """Change status.json in one step and return the whole. Only for whoever knows that nobody else writes now."""
    status = read_json(folder / "status.json") | changes
    write_atomic(folder / "status.json", json.dumps(status))
    return status


def identity(pid: int) -> str | None:
    """What tells a process from a later one with the same pid; None when it has ended."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        try:
            fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"  # field 22 of proc(5): start, in ticks since boot
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def end_process(pid: int, born: str, patience: float = 2.0) -> None:
    """End a job's process and what it started, first gently; returns when it is gone. Not ours any more: nothing."""
    if sys.platform == "win32":
        if identity(pid) == born:
            _end_tree(pid, patience)
        return
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if identity(pid) != born:
            return
        with contextlib.suppress(ProcessLookupError):
            # a job we started leads a session of its own; one run by hand from a script may not
            send = os.killpg if os.getpgid(pid) == pid else os.kill
            send(pid, signum)
            send(pid, signal.SIGCONT)  # so that a paused one hears it
        deadline = time.monotonic() + patience
        while identity(pid) == born and time.monotonic() < deadline:
            time.sleep(0.02)


def _end_tree(pid: int, patience: float) -> None:
    """End a process and all below it: terminate, then kill what is left after `patience` seconds."""
    import psutil

    try:
        top = psutil.Process(pid)
        tree = [*top.children(recursive=True), top]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, survivors = psutil.wait_procs(tree, patience)
    for process in survivors:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(survivors, patience)


class Standby:
    """At most one warm process. It dies with its owner while idle; a job it was given outlives the owner."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._enabled = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Keep one process warm from now on. It takes about 0.5 GB of memory."""
        with self._lock:
            self._enabled = True
            if self._process is None or self._process.poll() is not None:
                devnull = subprocess.DEVNULL
                command = [sys.executable, "-m", "workbench", "run", "-"]
                self._process = popen(command, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull)

    def take(self) -> subprocess.Popen[bytes] | None:
        """The warm process, which is then no longer on standby; None without one."""
        with self._lock:
            process, self._process = self._process, None
            return process if process is not None and process.poll() is None else None

    def give(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Make the taken process that folder's job, and a new one warm when it has ended."""
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it just died: the run is then seen as interrupted
            process.stdin.write(os.fsencode(folder) + b"\n")
            process.stdin.close()

        def restart() -> None:
            process.wait()
            if self._enabled:
                self.start()

        threading.Thread(target=restart, daemon=True).start()

    def stop(self) -> None:
        """End the idle process, if there is one."""
        with self._lock:
            self._enabled = False
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


standby = Standby()


def torchrun(folder: Path, processes: int) -> int:
    """Be the prepared run in `folder`, shared by so many processes of this machine; its exit code when it has ended."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.call([sys.executable, "-m", *launcher, "-m", "workbench", "run", str(folder)])
