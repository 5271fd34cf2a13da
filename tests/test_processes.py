"""Processes of ours here and, by simulation, on Windows: apart from their starter, ended as a tree, locked, files whole."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench import processes
from workbench.learn.engine import checkpoints

# A process with one below it; both ignore a gentle end when told to.
FAMILY = """
import signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1], *[a for a in sys.argv[1:] if a != "parent"]])
print("ready", child.pid if "parent" in sys.argv else "", flush=True)
time.sleep(600)
"""
MISSING = ("fcntl", "resource", "pwd", "grp", "termios")
WITHOUT_POSIX = f"""
import builtins, importlib, os, pkgutil, signal, sys
import workbench
names = [m.name for m in pkgutil.walk_packages(workbench.__path__, "workbench.") if m.name != "workbench.migrations.env"]
for name in names:
    importlib.import_module(name)  # so that other people's modules are in place before this looks like Windows
for name in [n for n in sys.modules if n.partition(".")[0] == "workbench"]:
    del sys.modules[name]
ordinary = builtins.__import__
def lacking(name, globals=None, locals=None, fromlist=(), level=0):
    if name in {MISSING} and (globals or {{}}).get("__name__", "").startswith("workbench"):
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return ordinary(name, globals, locals, fromlist, level)
builtins.__import__ = lacking
for place, absent in (os, ("killpg", "getpgid", "setsid", "fork", "getuid")), (signal, ("SIGKILL", "SIGCONT", "SIGSTOP")):
    for name in absent:
        delattr(place, name)
sys.platform = "win32"
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our own code sees of Windows."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "DETACHED_PROCESS", 0x8, raising=False)
    for name in ("killpg", "getpgid"):
        monkeypatch.delattr(os, name)


@pytest.fixture
def family(tmp_path: Path):
    """family(*flags) -> (parent, child's pid): a process and one below it."""
    pids = []

    def start(*flags: str) -> tuple[subprocess.Popen, int]:
        command = [sys.executable, "-c", FAMILY, FAMILY, *flags, "parent"]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert parent.stdout is not None
        lines = [parent.stdout.readline().split(), parent.stdout.readline().split()]
        child = next(int(line[1]) for line in lines if len(line) == 2)
        pids.extend([parent.pid, child])
        threading.Thread(target=parent.wait, daemon=True).start()  # leaves no zombie
        return parent, child

    yield start
    for pid in pids:
        if alive(pid):
            psutil.Process(pid).kill()


def alive(pid: int) -> bool:
    return processes.identity(pid) is not None


def gone(pid: int) -> bool:
    """Whether that process ends within ten seconds."""
    end = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def born(process: subprocess.Popen) -> str:
    birth = processes.identity(process.pid)
    assert birth
    return birth


@pytest.mark.parametrize("flags", [(), ("deaf",)], ids=["that listens", "that ignores a gentle end"])
def test_ending_a_process_ends_what_it_started_too(family, flags):
    parent, child = family(*flags)
    processes.end_process(parent.pid, born(parent), patience=0.3)
    assert not alive(parent.pid)
    assert gone(child)


@pytest.mark.parametrize("flags", [(), ("deaf",)], ids=["that listens", "that ignores a gentle end"])
def test_on_windows_a_process_is_ended_with_its_tree(family, flags, windows):
    parent, child = family(*flags)
    processes.end_process(parent.pid, born(parent), patience=0.3)
    assert not alive(parent.pid)
    assert gone(child)


def test_on_windows_a_later_process_with_the_same_pid_is_left_alone(family, windows):
    parent, child = family()
    processes.end_process(parent.pid, "another birth", patience=0.3)
    assert alive(parent.pid) and alive(child)


def test_on_windows_a_job_leaves_our_console_and_our_group(monkeypatch, windows):
    calls = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: calls.append(options))
    processes.popen(["python"], stdin=subprocess.DEVNULL)
    (options,) = calls
    assert options["creationflags"] == 0x208
    assert "start_new_session" not in options
    assert options["stdin"] == subprocess.DEVNULL


def test_here_a_job_leads_a_session_of_its_own():
    code = "import os; print(os.getsid(0) == os.getpid())"
    process = processes.popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.communicate()[0].strip() == b"True"


def refusing(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """os.replace fails so many times as it does on Windows while a reader has the file open."""
    calls: list[int] = []
    replace = os.replace

    def busy(source: Path, target: Path) -> None:
        calls.append(1)
        if len(calls) <= times:
            raise PermissionError(13, "Access is denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", busy)
    return calls


def test_on_windows_a_file_that_is_being_read_is_replaced_when_the_reader_is_done(tmp_path, monkeypatch, windows):
    file = tmp_path / "status.json"
    processes.write_atomic(file, "old")
    calls = refusing(monkeypatch, 3)
    processes.write_atomic(file, "new")
    assert file.read_text("utf-8") == "new"
    assert len(calls) == 4


def test_here_a_folder_that_refuses_is_an_error_at_once_and_leaves_nothing_behind(tmp_path, monkeypatch):
    file = tmp_path / "status.json"
    processes.write_atomic(file, "old")
    calls = refusing(monkeypatch, 99)
    with pytest.raises(PermissionError):
        processes.write_atomic(file, "new")
    assert len(calls) == 1
    assert [f.name for f in tmp_path.iterdir()] == ["status.json"]
    assert file.read_text("utf-8") == "old"


def test_a_workspace_has_one_holder_at_a_time_and_a_killed_one_lets_go(tmp_path):
    code = "import sys; from pathlib import Path; from workbench import processes\n"
    code += "with processes.locked(Path(sys.argv[1])):\n    print('mine', flush=True)\n    sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = processes.popen([sys.executable, "-c", code, str(tmp_path)], **pipes)
    assert holder.stdout is not None and holder.stdout.readline() == b"mine\n"
    acquired = threading.Event()

    def take() -> None:
        with processes.locked(tmp_path):
            acquired.set()

    thread = threading.Thread(target=take)
    thread.start()
    assert not acquired.wait(0.3)
    holder.kill()
    holder.communicate()
    assert acquired.wait(10)
    thread.join()


def test_a_checkpoint_is_flushed_through_handles_that_windows_accepts(tmp_path, monkeypatch):
    """There os.fsync refuses what was opened for reading, with "Bad file descriptor"."""
    fcntl = pytest.importorskip("fcntl")
    flush, handles = os.fsync, []

    def fsync(fd: int) -> None:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        handles.append(fd)
        flush(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    fresh = tmp_path / ".step-3.new"
    (fresh / "adapter").mkdir(parents=True)
    (fresh / "adapter" / "adapter_config.json").write_text("{}", "utf-8")
    checkpoints.seal(fresh, tmp_path / "step-3")
    assert len(handles) == 2
    assert checkpoints.damage(tmp_path / "step-3") is None


@pytest.mark.slow
def test_every_module_can_be_imported_where_posix_is_missing():
    command = [sys.executable, "-c", WITHOUT_POSIX]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout.split()[-1]) > 90
