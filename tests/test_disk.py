"""Fault 14, a full disk: said in one sentence, nothing acknowledged is lost, and it goes on when there is room again."""

import errno
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from tests.small_runs import SMALL, done, figures, launch, reached, until, workspace
from workbench import disk, processes
from workbench.jobs import control, prepare
from workbench.jobs.runs import find_run, list_runs
from workbench.learn.catalogue import parse
from workbench.learn.engine import reporter
from workbench.store import StoreError
from workbench.ui import train
from workbench.ui.context import Context, Refused

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave not one byte."""
    filler = folder / "filler"
    for size in (1 << 16, 1 << 12):
        with filler.open("ab", buffering=0) as file:
            try:
                while file.write(b"x" * size):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


def test_14_a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk):
    settings, store = workspace(small_disk)
    with store:
        run = launch(settings, store, steps=100_000, checkpoint_every=2, evaluate_every=50_000)
        try:
            reached(settings, run, 5)
            filler = fill(small_disk)
            failed = done(settings, run)
            assert failed.state == "failed"
            assert failed.status.message.endswith(
                "the disk is full. Its checkpoints are safe. Free some space, then resume."
            )
            assert not list(run.folder.rglob("*.new")) and not list(run.folder.glob(".status.json*"))
            context = Context(settings, store)
            fill(small_disk)
            count = len(store.demonstrations())
            with pytest.raises(StoreError, match="The disk is full"):
                for _ in range(100):
                    store.add_demonstration(1, "x" * 50_000, "me")
                    count += 1
            assert len(store.demonstrations()) == count
            click = {"method": "sft", "preset": "normal", "values": SMALL, "token": "a-token-of-a-click"}
            with pytest.raises(Refused) as refused:
                train.start(context, click)
            assert str(refused.value) == disk.FULL
            with pytest.raises(Refused) as refused:
                train.act(context, {"run": run.number, "action": "resume"})
            assert str(refused.value) == disk.FULL
            assert [r.number for r in list_runs(settings.workspace)] == [run.number]
            assert not list((settings.workspace / "runs").glob(".new.*"))
            filler.unlink()
            before = figures(failed)[-1]["step"]
            resumed = control.resume(settings, failed)
            until(lambda: figures(find_run(settings.workspace, run.number))[-1]["step"] > before + 1)
            assert any("Resumed from step" in text for text in find_run(settings.workspace, run.number).status.notices)
            assert control.stop(settings, resumed).status.saved_step
        finally:
            control.stop(settings, find_run(settings.workspace, run.number))


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("database or disk is full"),
    ],
)
def test_14_a_full_disk_is_known_however_a_library_words_it(error):
    assert disk.is_full(error)
    outer = ValueError("could not save")
    outer.__cause__ = error
    assert disk.is_full(outer)
    assert not disk.is_full(OSError(errno.EACCES, "Permission denied")) and not disk.is_full(None)


@pytest.fixture
def full(tmp_path, monkeypatch):
    """A run's folder in which nothing can be written while its reserve is there."""
    folder = tmp_path / "0007-sft"
    folder.mkdir()

    def write(file, text, durable=True):
        if (folder / disk.RESERVE).exists():
            raise FULL
        processes.write_atomic(file, text, durable)

    monkeypatch.setattr(reporter.Reporter, "_watch", lambda self: None)
    report = reporter.Reporter(folder)
    assert (folder / disk.RESERVE).stat().st_size == disk.RESERVE_BYTES
    monkeypatch.setattr(reporter, "write_atomic", write)
    return folder, report


def test_14_the_last_status_is_written_in_the_room_of_the_reserve(full):
    folder, report = full
    with pytest.raises(OSError, match="No space"):
        report.status(state="running", step=3)
    report.close(state="failed", message="the disk is full")
    assert processes.read_json(folder / "status.json")["state"] == "failed"
    assert not (folder / disk.RESERVE).exists()


def test_14_a_heartbeat_that_finds_the_disk_full_ends_the_job_with_a_word(full, monkeypatch):
    folder, report = full
    codes = []
    monkeypatch.setattr(reporter.os, "_exit", codes.append)
    report._ended_by_full_disk()
    status = processes.read_json(folder / "status.json")
    assert codes == [71] and status["state"] == "failed"
    assert status["message"].startswith("Run 7 stopped at step 0: the disk is full.")


def test_14_what_a_start_left_behind_is_removed_by_itself_or_the_next(tmp_path, monkeypatch):
    settings, store = workspace(tmp_path / "space")
    with store:
        leftover = settings.workspace / "runs" / ".new.999999.1" / "data"
        leftover.mkdir(parents=True)
        with monkeypatch.context() as patched:
            patched.setattr(prepare.card, "write", lambda config: (_ for _ in ()).throw(FULL))
            with pytest.raises(OSError, match="No space"):
                prepare.prepare_run(settings, store, "sft", parse("sft", SMALL))
        assert list((settings.workspace / "runs").glob(".new.*")) == []
        leftover.mkdir(parents=True)
        assert prepare.prepare_run(settings, store, "sft", parse("sft", SMALL)).number == 1
        assert list((settings.workspace / "runs").glob(".new.*")) == []
