"""Jobs as real processes: killed, hung, stopped, queued, orphaned, resumed. Numbers are those of the list of faults."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from tests.small_runs import SMALL, alive, done, figures, launch, pid_of, until, workspace
from workbench import processes
from workbench.jobs import control, prepare
from workbench.jobs.plan import plan_run
from workbench.jobs.runs import Run, find_run, list_runs
from workbench.learn.catalogue import parse, resolve
from workbench.learn.data import MissingData
from workbench.learn.engine import checkpoints
from workbench.learn.engine.reporter import Silent
from workbench.learn.engine.work import Work
from workbench.learn.run_files import RunConfig, RunResult, RunStatus
from workbench.models import ModelError
from workbench.settings import load
from workbench.store import Store


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def place(tmp_path):
    """(settings, store) of a workspace; its jobs are ended afterwards."""
    made, store = workspace(tmp_path / "space")
    with store:
        yield made, store
    for run in list_runs(made.workspace):
        if run.active and run.status.get("pid"):
            processes.end_process(run.status["pid"], run.status["pid_start"])


def reached(made, run, step):
    return until(lambda: (r := find_run(made.workspace, run.number)).status.get("step", 0) >= step and r)


# What needs no process


def test_missing_data_is_said_in_the_words_of_the_page(tmp_path):
    made = load(tmp_path, model="sandbox")
    with Store(made.database) as store:
        with pytest.raises(MissingData) as error:
            prepare.prepare_run(made, store, "dpo", parse("dpo", {}))
        assert str(error.value) == "DPO needs ranked pairs. There are none yet."
        assert error.value.action == "Rank"
        with pytest.raises(MissingData, match=r"SFT needs written answers\. There are none yet\."):
            prepare.prepare_run(made, store, "sft", parse("sft", {}))
        assert list_runs(tmp_path) == []


def test_a_prepared_folder_is_complete_and_its_data_does_not_change(place):
    made, store = place
    run = prepare.prepare_run(made, store, "sft", parse("sft", SMALL))
    names = {str(f.relative_to(run.folder)) for f in run.folder.rglob("*") if f.is_file()}
    assert names == {
        *("config.json", "status.json", "README.md", ".reserve"),
        *("data/train.jsonl", "data/heldout.jsonl", "data/prompts.json"),
    }
    before = (run.folder / "data" / "train.jsonl").read_text()
    store.delete_demonstration(store.demonstrations()[0].id)
    assert (run.folder / "data" / "train.jsonl").read_text() == before
    counts = run.config["data"]
    assert counts["train"] + counts["heldout"] == counts["n"] == 30
    rows = [json.loads(line) for line in before.splitlines()]
    assert {r["split"] for r in rows} == {"train"} and len(rows) == counts["train"]
    assert run.config["versions"]["trl"].startswith("1.")
    assert "sft" in run.config["command"] and run.title == "SFT, run 1"


def test_the_command_gives_the_same_settings_again(place):
    made, _ = place
    from workbench.cli.main import parser

    args = parse("dpo", {"steps": 7, "beta": 0.3}, "quick")
    words = prepare.command(made, "dpo", args, 3)
    import shlex

    got = parser().parse_args(shlex.split(words)[3:])
    values = dict(item.split("=", 1) for item in got.set)
    assert parse(got.method, values, got.preset) == args
    assert (got.start_from, got.model, Path(got.workspace)) == (3, made.model, made.workspace)


def test_a_start_that_is_no_finished_run_is_refused(place):
    made, store = place
    with pytest.raises(ValueError, match="there is no run 9"):
        launch(made, store, "dpo", start_from=9)
    run = prepare.prepare_run(made, store, "sft", parse("sft", SMALL))
    with pytest.raises(ValueError, match="Run 1 has no trained model to start from"):
        launch(made, store, "dpo", start_from=run.number)


def test_12_a_run_that_cannot_fit_is_refused_with_the_estimate(place, monkeypatch):
    made, store = place
    monkeypatch.setattr("workbench.jobs.estimate.available_mb", lambda: 100.0)
    with pytest.raises(MemoryError, match=r"needs about 0\.\d GB of memory and 0\.1 GB are free"):
        launch(made, store)
    assert list_runs(made.workspace) == []
    assert not plan_run(made, store, "sft", parse("sft", SMALL)).estimate.fits


def test_the_estimate_counts_activations_that_are_computed_again(place, monkeypatch):
    """A Llama of 1 B on a GPU: hidden 2048, 16 layers, feed-forward 8192; 16 tokens of 64 x 2 answers, 2 bytes each."""
    from workbench import settings as settings_module
    from workbench.jobs.estimate import PROCESS_MB, memory_mb

    config = {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "vocab_size": 1000}
    monkeypatch.setattr(settings_module, "model_config", lambda name: config)
    monkeypatch.setattr(settings_module, "parameters", lambda name: 1_000_000_000)
    monkeypatch.setattr(settings_module, "graphics", lambda: settings_module.Graphics("a GPU", 80_000, 80_000))
    values = {"batch_size": 16, "max_tokens": 128, "lora_rank": 8}
    args = {m: resolve(m, parse(m, values | {"micro_batch": 16}), 10**9)[0] for m in ("sft", "ppo")}
    adapter = 16 * 8 * (8 * 2048 + 3 * (2048 + 8192)) * 16
    tokens, in_a_layer = 16 * 64, 16 * 2048 + 3 * 8192
    rest = 2 * 10**9 + adapter + tokens * 1000 * 8
    assert memory_mb("m", "sft", args["sft"]) == pytest.approx(
        PROCESS_MB + (rest + tokens * (16 * 2048 + in_a_layer) * 2) / 2**20
    )
    assert memory_mb("m", "ppo", args["ppo"]) == pytest.approx(
        PROCESS_MB + (rest + tokens * 16 * in_a_layer * 2) / 2**20
    )


def test_40_a_model_that_is_not_here_starts_no_job(place, monkeypatch):
    made, store = place
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="no-such/model is not on this machine"):
        launch(load(made.workspace, model="no-such/model"), store)
    assert list_runs(made.workspace) == []


def test_consent_to_a_models_code_is_kept_with_the_run_and_reaches_its_process(tmp_path, own_code, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    made, store = workspace(tmp_path / "space")
    folder, ran = own_code(tmp_path / "space-model", tmp_path / "mine")
    asked = replace(made, model=str(folder))
    with store:
        with pytest.raises(ModelError, match="--trust-remote-code"):
            prepare.prepare_run(asked, store, "sft", parse("sft", SMALL))
        assert list_runs(made.workspace) == [] and not ran.exists()
        run = prepare.prepare_run(replace(asked, trust_remote_code=True), store, "sft", parse("sft", SMALL))
    assert run.config["trust_remote_code"] is True and " --trust-remote-code" in run.config["command"]
    assert not ran.exists()  # preparing runs nothing
    (run.folder / "metrics.jsonl").touch()
    assert type(Work.open(run, Silent(run.folder)).model.hf).__name__ == "Mine" and ran.exists()


def test_the_estimate_follows_the_last_run_like_it():
    from workbench.jobs.estimate import estimate

    args, _ = resolve("sft", parse("sft", {}), 1_500_000)
    config = RunConfig(number=3, method="sft", model="sandbox", args={"steps": 20, "batch_size": 16})
    result = RunResult(train_seconds=4.0, seconds=9.0)
    past = Run(3, Path("0003-sft"), config, RunStatus(state="done"), result)
    found = estimate("sandbox", "sft", args, [past])
    assert found.seconds == pytest.approx(4.0 * 40 / 20 + 5.0)
    assert found.reason == "from run 3 on this machine"


def test_10_another_process_with_our_pid_is_left_alone(place):
    made, store = place
    run = prepare.prepare_run(made, store, "sft", parse("sft", SMALL))
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        processes.write_status(run.folder, state="running", pid=stranger.pid, pid_start="earlier-life:1", step=3)
        stopped = control.stop(made, Run(run.number, run.folder, run.config, RunStatus(state="running"), None))
        assert stopped.state == "interrupted"
        assert stopped.status["message"] == "Run 1 was interrupted at step 3."
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_metrics_skip_a_torn_line_and_what_a_resume_made_again(tmp_path):
    lines = [
        '{"step": 1, "a": 1}',
        '{"step": 2, "a": 2}',
        '{"st',
        '{"back_to": 1}',
        '{"step": 2, "a": 3}',
        '{"step": 3',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    config = RunConfig(number=1, method="sft", model="sandbox", args={})
    run = Run(1, tmp_path, config, RunStatus(), None)
    assert run.metrics() == ([{"step": 1, "a": 1}, {"step": 2, "a": 3}], 5)
    assert run.metrics(4) == ([{"step": 2, "a": 3}], 5)


def test_24_a_pickle_in_a_checkpoint_makes_it_unusable(tmp_path):
    for step in (2, 4):
        fresh = tmp_path / ".new"
        fresh.mkdir()
        (fresh / "state.json").write_text("{}")
        checkpoints.seal(fresh, tmp_path / f"step-{step}")
    assert checkpoints.newest(tmp_path)[0] == tmp_path / "step-4"
    (tmp_path / "step-4" / "optimizer.pt").write_bytes(b"\x80\x04.")
    found, notices = checkpoints.newest(tmp_path)
    assert found == tmp_path / "step-2"
    assert "optimizer.pt is a pickle" in notices[0]


# Real processes


def test_03_04_killed_then_resumed_equals_uninterrupted_even_with_the_newest_checkpoint_torn(place):
    made, store = place
    longer = {"steps": 40, "evaluate_every": 10, "checkpoint_every": 4}
    whole = done(made, launch(made, store, **longer))
    assert whole.state == "done", whole.log_tail()
    killed = launch(made, store, **longer)
    assert killed.number == 2
    os.kill(pid_of(reached(made, killed, 9)), signal.SIGKILL)
    found = until(lambda: (r := find_run(made.workspace, 2)).state == "interrupted" and r, 60)
    assert found.status["message"].startswith("Run 2 was interrupted at step ")
    assert found.status["last_lines"]
    assert found.adapter is not None, "the model of the last checkpoint is kept"
    newest = checkpoints.newest(killed.folder / "checkpoints")[0]
    weights = newest / "optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    resumed = done(made, control.resume(made, found))
    assert resumed.state == "done", resumed.log_tail()
    notices = " ".join(resumed.status["notices"])
    assert f"checkpoint of step {checkpoints.step_of(newest)} is not used" in notices
    assert f"Resumed from step {checkpoints.step_of(newest) - 4}" in notices
    assert figures(resumed) == figures(whole)
    assert resumed.samples() == whole.samples()
    both = [(r.adapter / "adapter_model.safetensors").read_bytes() for r in (whole, resumed)]
    assert both[0] == both[1]
    assert asdict(resumed)["result"]["kl"] == whole.result["kl"]


APP = """
import sys, time
from pathlib import Path
from tests.small_runs import launch
from workbench import settings
from workbench.store import Store
made = settings.load(Path(sys.argv[1]), model=sys.argv[2])
store = Store(made.database)
runs = [launch(made, store), launch(made, store), launch(made, store, seed=1)]
print(*[r.number for r in runs], flush=True)
time.sleep(600)
"""


def test_05_06_07_the_app_dies_the_job_goes_on_a_double_click_is_one_job_and_the_next_waits_its_turn(place):
    made, store = place
    store.close()
    command = [sys.executable, "-c", APP, str(made.workspace), made.model]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    assert app.stdout.readline().split() == ["1", "1", "2"]
    app.kill()
    app.wait()
    first, second = find_run(made.workspace, 1), find_run(made.workspace, 2)
    assert first.active and alive(pid_of(first))
    assert second.state == "waiting"
    assert second.status["message"].startswith("Waits for run 1")
    assert done(made, first).state == "done"
    assert done(made, second).state == "done"
    ran = [json.loads((r.folder / "result.json").read_text())["steps"] for r in (first, second)]
    assert ran == [8, 8]


def test_08_stopped_while_it_loads_leaves_no_process(place):
    made, store = place
    run = launch(made, store)
    pid = pid_of(run)
    assert alive(pid)
    stopped = control.stop(made, run)
    assert stopped.state == "stopped"
    assert stopped.status["message"] == "Stopped at step 0. No model was saved yet."
    assert not alive(pid)
    assert control.stop(made, stopped).state == "stopped"


def test_stop_and_save_keeps_the_model_of_its_last_step_and_can_be_resumed(place):
    made, store = place
    run = launch(made, store, steps=400, evaluate_every=400, checkpoint_every=400)
    reached(made, run, 3)
    live = find_run(made.workspace, run.number).status
    assert live["eta_s"] > 0 and live["seconds"] > 0
    control.stop(made, run, save=True)
    stopped = done(made, run)
    step = stopped.status["step"]
    assert stopped.state == "stopped" and 3 <= step < 400
    assert stopped.status["message"] == f"Stopped at step {step}. The model at step {step} is saved."
    assert stopped.adapter is not None and stopped.result["steps"] == step
    assert stopped.metrics()[0][-1]["step"] == step
    assert control.resume(made, stopped).active
    again = reached(made, stopped, step + 1)
    assert f"Resumed from step {step}." in again.status["notices"]
    ended = control.stop(made, again)
    assert ended.state == "stopped" and ended.adapter is not None
    assert f"The model at step {step} is saved" in ended.status["message"]


def test_09_a_job_that_hangs_is_ended_and_said_so(place, monkeypatch):
    made, store = place
    run = launch(made, store, steps=4000)
    reached(made, run, 1)
    monkeypatch.setenv("WORKBENCH_HANG_SECONDS", "1")
    pid = pid_of(run)
    os.kill(pid, signal.SIGSTOP)
    found = until(lambda: (r := find_run(made.workspace, run.number)).state == "failed" and r, 60)
    assert "hung at step" in found.status["message"]
    assert not alive(pid)


def test_the_jobs_own_watchdog_ends_a_main_thread_that_is_stuck(tmp_path, monkeypatch):
    code = (
        "import sys, time; from pathlib import Path; from workbench.learn.engine.reporter import Reporter;"
        "r = Reporter(Path(sys.argv[1])); r.status(state='running', step=4); r.alive(); time.sleep(60)"
    )
    folder = tmp_path / "0007-sft"
    folder.mkdir()
    env = os.environ | {"WORKBENCH_HANG_SECONDS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=env, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 70
    assert "time.sleep" in ended.stderr or "<string>" in ended.stderr, "the log shows where it was stuck"
    status = processes.read_json(folder / "status.json")
    assert status["state"] == "failed" and status["message"].startswith("Run 7 hung at step 4")


class Clock:
    """A clock for the reporter that goes on when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def monotonic_ns(self):
        return int(self.now * 1e9)


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """(clock, reporter of a running job, `hung()`: whether the watchdog would end it now)."""
    from workbench.learn.engine import reporter

    clock = Clock()
    monkeypatch.setattr(reporter, "time", clock)
    monkeypatch.setattr(reporter.Reporter, "_watch", lambda self: None)
    monkeypatch.delenv("WORKBENCH_HANG_SECONDS", raising=False)
    report = reporter.Reporter(tmp_path)
    report.status(state="running", step=0, steps=10)
    ended = []
    monkeypatch.setattr(report, "_hung", ended.append)

    def hung():
        report.look_after()
        return bool(ended)

    yield clock, report, hung
    report.close()


def test_a_first_step_of_ten_minutes_is_no_hang_and_half_an_hour_without_a_sign_is(watched):
    clock, _, hung = watched
    clock.now += 600
    assert not hung()
    clock.now += 1100
    assert not hung()
    clock.now += 101
    assert hung()


def test_the_limit_follows_the_slowest_part_seen_within_a_step_too(watched):
    clock, report, hung = watched
    clock.now += 30  # the first micro-batch of the first step
    report.alive()
    clock.now += 599  # 20 times 30
    assert not hung()
    clock.now += 2
    assert hung()


def test_a_job_of_fast_parts_is_given_three_minutes_and_no_more(watched):
    clock, report, hung = watched
    for _ in range(5):
        clock.now += 2
        report.alive()
    clock.now += 179
    assert not hung()
    clock.now += 2
    assert hung()


def test_a_reward_of_three_seconds_an_answer_is_waited_for(watched):
    clock, report, hung = watched
    clock.now += 1
    report.alive()
    for answers in (64, 256):
        with report.patience():
            clock.now += 3 * answers
            assert not hung()
    clock.now += 179
    assert not hung()
    clock.now += 2
    assert hung(), "its pauses say nothing about the rest, which must not be waited for as long"


def test_a_reward_that_never_returns_is_ended(watched):
    clock, report, hung = watched
    clock.now += 1
    report.alive()
    with report.patience():
        clock.now += 1801
        assert hung()


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "inf"])
def test_a_limit_that_is_no_number_is_refused_by_name(monkeypatch, text):
    from workbench import settings

    monkeypatch.setenv("WORKBENCH_HANG_SECONDS", text)
    with pytest.raises(ValueError, match=f"WORKBENCH_HANG_SECONDS: '{text}'"):
        settings.load()


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo", "reward", "ppo", "grpo"])
def test_every_method_gives_signs_of_life_within_its_steps_and_evaluations(method, tmp_path):
    from tests.small_runs import opened, workspace
    from workbench.learn.methods import method_module

    made, store = workspace(tmp_path / "home")
    file = tmp_path / "mine.py"
    file.write_text("def reward(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    changes = {"steps": 1, "batch_size": 4, "micro_batch": 2}
    changes |= {"reward": f"file:{file}"} if method in ("ppo", "grpo") else {}
    signs = []
    with opened(made, store, method, **changes) as work:
        work.prompts |= {"samples": [], "live": []}  # tokens of their answers are signs too, which are not meant here
        plain = work.report.alive

        def alive():
            signs.append((work.report.get("state"), work.report.get("step")))
            plain()

        work.report.alive = alive
        method_module(method).train(work)
    store.close()
    in_step, after = signs.count(("running", 0)), signs.count(("running", 1))
    assert in_step >= 4, "before and after each of two micro-batches, or from every chunk"
    # evaluate gives one sign by itself; 5 held-out examples are one batch, or two of chosen and rejected, and more
    assert method in ("ppo", "grpo") or after >= 2, "from every batch of the held-out evaluation"


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "orpo", "reward", "ppo", "rloo", "grpo"])
def test_every_method_trains_a_model_too_large_for_merged_copies(method, tmp_path, monkeypatch):
    """Of which an answer is written first, as every run does: its base is laid out anew then."""
    from tests.small_runs import opened, workspace
    from workbench.learn.methods import method_module
    from workbench.models import decoders, llama

    monkeypatch.setattr(decoders, "MERGE_BELOW", 0)
    monkeypatch.setattr(llama, "MERGE_BELOW", 0)
    monkeypatch.setattr(decoders, "why_not_onnx", lambda model: "too large")
    made, store = workspace(tmp_path / "home")
    file = tmp_path / "mine.py"
    file.write_text("def reward(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    reward = {"reward": f"file:{file}"} if method in ("ppo", "rloo", "grpo") else {}
    with store, opened(made, store, method, steps=1, **reward) as work:
        before = {name: weight.clone() for name, weight in work.peft.named_parameters() if weight.requires_grad}
        result = method_module(method).train(work)
        assert result["steps"] == 1
        now = dict(work.peft.named_parameters())
        assert any(not torch.equal(before[name], now[name]) for name in before)


def test_the_log_probabilities_of_an_evaluation_give_a_sign_for_every_batch(tmp_path):
    from tests import tiny_model
    from workbench import models
    from workbench.models.generate import logprobs

    model = models.load(str(tiny_model.base(tmp_path / "base")))
    signs = []
    logprobs(model, ["Hi"] * 5, ["Yes"] * 5, batch_size=2, on_batch=lambda: signs.append(1))
    assert len(signs) == 3


def test_a_warm_process_dies_with_its_owner_but_not_with_a_job_in_hand(place):
    made, store = place
    store.close()
    code = (
        "import sys, time; from workbench.processes import standby; standby.start();"
        "print(standby._process.pid, flush=True); time.sleep(600)"
    )
    root = Path(__file__).parent.parent
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    idle = int(owner.stdout.readline())
    assert alive(idle)
    owner.kill()
    owner.wait()
    until(lambda: not alive(idle))

    code = APP.replace(
        "made =", "from workbench.processes import standby; standby.start(); warm = standby._process.pid; made ="
    )
    code = code.replace(
        "runs = [launch(made, store), launch(made, store), launch(made, store, seed=1)]", "runs = [launch(made, store)]"
    )
    code = code.replace("print(*[r.number for r in runs], flush=True)", "print(warm, flush=True)")
    command = [sys.executable, "-c", code, str(made.workspace), made.model]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    warm = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    run = find_run(made.workspace, 1)
    assert run.status["pid"] == warm, "the warm process became the job"
    assert done(made, run).state == "done"


def test_a_run_folder_can_be_run_by_hand_once(place):
    made, store = place
    run = prepare.prepare_run(made, store, "sft", parse("sft", SMALL | {"steps": 2}))
    command = [sys.executable, "-m", "workbench", "run", str(run.folder)]
    root = Path(__file__).parent.parent
    assert subprocess.run(command, cwd=root, capture_output=True).returncode == 0
    assert find_run(made.workspace, 1).state == "done"
    again = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert again.returncode == 1 and "it is done" in again.stderr
    with pytest.raises(ValueError, match="Run 1 is finished"):
        control.resume(made, find_run(made.workspace, 1))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library has no malloc_trim")
def test_freed_memory_goes_back_to_the_system():
    import psutil
    import torch

    from workbench.memory import give_memory_back

    # each too small for pages of its own; the last stays, so that what lies below it cannot go back by itself
    kept = [torch.ones(16_000) for _ in range(3_000)]
    del kept[:-1]
    before = psutil.Process().memory_info().rss
    give_memory_back()
    assert before - psutil.Process().memory_info().rss > 100_000_000
