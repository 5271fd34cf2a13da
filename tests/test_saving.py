"""Checkpoints: whole or not there (fault 2), never made of or used on a base that has changed (fault 35)."""

import json
import subprocess
import sys
import time

import pytest
import torch

from tests.small_runs import opened, workspace
from workbench.jobs.runs import list_runs, rescue
from workbench.learn.engine import checkpoints
from workbench.learn.engine.reporter import Reporter
from workbench.learn.engine.saving import FrozenWeightsChanged
from workbench.learn.engine.work import Work
from workbench.learn.methods import method_module
from workbench.processes import write_status


@pytest.fixture
def place(tmp_path):
    settings, store = workspace(tmp_path / "space")
    with store:
        yield settings, store


def corrupt_at(work, at):
    """Change a frozen weight once `at` steps were made."""
    write = work.report.metrics

    def metrics(step, **values):
        write(step, **values)
        if step == at:
            with torch.no_grad():
                next(w for name, w in work.peft.named_parameters() if "lora_" not in name).add_(0.01)

    work.report.metrics = metrics


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_35_a_base_that_changes_ends_the_run_at_the_next_checkpoint_and_a_resume_uses_the_one_before(
    place, method, tmp_path
):
    settings, store = place
    rewards = tmp_path / "lengths.py"
    rewards.write_text("def reward(prompts, responses):\n    return [len(set(text)) / 10 for text in responses]\n")
    changes = {"reward": f"file:{rewards}"} if method == "ppo" else {}
    with opened(settings, store, method, steps=12, checkpoint_every=2, evaluate_every=12, **changes) as work:
        corrupt_at(work, 5)
        with pytest.raises(FrozenWeightsChanged, match="frozen have changed"):
            method_module(method).train(work)
        assert work.report.get("step") == 6
        assert sorted(f.name for f in (work.folder / "checkpoints").iterdir()) == ["step-2", "step-4"]
        assert not (work.folder / "adapter").exists()
    (run,) = list_runs(settings.workspace)
    report = Reporter(run.folder)
    again = Work.open(run, report)
    assert again.first_step == 4
    assert method_module(method).train(again)["steps"] == 12
    report.close()


def test_35_stop_and_save_saves_nothing_of_a_base_that_has_changed(place):
    settings, store = place
    with opened(settings, store, "sft", steps=12, checkpoint_every=12, evaluate_every=12) as work:
        corrupt_at(work, 3)
        work.report.wants_stop = lambda: work.report.get("step") == 3
        with pytest.raises(FrozenWeightsChanged):
            method_module("sft").train(work)
        assert not (work.folder / "adapter").exists() and list((work.folder / "checkpoints").glob("*")) == []


def sealed(folder, step, frozen):
    fresh = folder / ".new"
    (fresh / "adapter").mkdir(parents=True)
    (fresh / "adapter" / "adapter_model.safetensors").write_text(str(step))
    (fresh / "state.json").write_text(json.dumps({"step": step} | ({"frozen": frozen} if frozen else {})))
    checkpoints.seal(fresh, folder / f"step-{step}")


def test_35_a_checkpoint_made_on_other_frozen_weights_is_passed_over_by_a_resume_and_by_a_stop(tmp_path):
    folder = tmp_path / "checkpoints"
    for step, frozen in ((2, "float32:aa"), (4, "float32:bb")):
        sealed(folder, step, frozen)
    usable, notices = checkpoints.newest(folder, "float32:aa")
    assert usable == folder / "step-2"
    assert notices == [
        "The checkpoint of step 4 is not used: the frozen weights of the model differed from those that were loaded."
    ]
    write_status(tmp_path, state="running", frozen="float32:aa")
    assert rescue(tmp_path) == 2
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_text() == "2"
    assert checkpoints.newest(folder, "bfloat16:aa")[0] == folder / "step-4", "another number format says nothing"
    sealed(folder, 6, None)
    assert checkpoints.newest(folder, "float32:aa")[0] == folder / "step-6", "older ones do not say"


WRITE_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
from workbench.learn.engine import checkpoints
folder = Path(sys.argv[1])
for step in itertools.count(int(sys.argv[2])):
    fresh = folder / f".step-{step}.new"
    fresh.mkdir(parents=True)
    for name in ("state.json", "optimizer.safetensors"):
        (fresh / name).write_text("{}" + " " * 300_000)
    checkpoints.seal(fresh, folder / f"step-{step}")
    print(step, flush=True)
"""


def test_02_a_kill_while_checkpoints_are_written_tears_none(tmp_path):
    last = 0
    for pause in (0.0, 0.003, 0.007, 0.013):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path), str(last + 10)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(3):
            step = int(writer.stdout.readline())
        time.sleep(pause)
        writer.kill()
        step = max([step, *map(int, writer.communicate()[0].split())])
        usable, notices = checkpoints.newest(tmp_path)
        last = checkpoints.step_of(usable)
        assert last >= step and notices == []
