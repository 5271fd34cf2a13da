"""The command line: help at once, errors as one clear line, and the same functions as the page's."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import tiny_model
from tests.small_runs import SMALL, workspace
from workbench import models
from workbench.cli import main
from workbench.cli.shared import drop_too_long
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import parse

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "--workspace" in out and main.COMMANDS[command][2] in " ".join(out.split())


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from workbench.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'gradio', 'datasets', 'pandas', 'sqlalchemy', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["serve", "train", "compare", "score", "best-of-n", "rejection"])
def test_consent_to_a_models_code_can_be_given_wherever_a_model_is_named(command, capsys):
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    text = capsys.readouterr().out
    assert "--model NAME" in text and "--trust-remote-code" in text


def test_no_command_is_wrong_usage():
    with pytest.raises(SystemExit) as ended:
        main.main([])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "argv, message",
    [
        (["train", "dpo", "--set", "beta=often"], "error: --set beta=often: not a number"),
        (["train", "dpo", "--set", "beta"], "error: --set beta: write it as NAME=VALUE"),
        (["train", "magic"], "error: there is no method 'magic'"),
        (["train", "sft", "--preset", "eternal"], "error: --preset eternal: it must be one of quick, normal, thorough"),
        (["train", "sft"], "error: SFT needs written answers. There are none yet."),
        (["train", "dpo"], "error: DPO needs ranked pairs. There are none yet."),
        (["train", "dpo", "--model", "/no/such/folder"], "error:"),
        (["stop", "7"], "error: there is no run 7"),
        (["resume", "7"], "error: there is no run 7"),
        (["compare", "7"], "error: there is no run 7"),
        (["run", "/no/such/run"], "error: /no/such/run is not a run folder"),
        (["import", "/no/such/file.jsonl"], "error:"),
    ],
)
def test_an_error_is_one_clear_line(argv, message, capsys, tmp_path):
    assert main.main([*argv, "--workspace", str(tmp_path / "space")]) == 1
    err = capsys.readouterr().err
    assert err.startswith(message) and err.count("\n") == 1


def test_settings_of_a_method_are_listed_with_their_meaning(capsys):
    assert main.main(["train", "dpo", "--settings"]) == 0
    out = capsys.readouterr().out
    assert "beta" in out and "Lower values let the policy move further" in out and "automatic" in out


def test_runs_of_an_empty_workspace(tmp_path, capsys):
    assert main.main(["runs", "--workspace", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "No runs yet.\n"
    assert not (tmp_path / "none").exists(), "looking creates nothing"
    assert main.main(["runs", "--json", "--workspace", str(tmp_path / "none")]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_export_then_import_brings_everything_back(tmp_path, capsys):
    settings, store = workspace(tmp_path / "space", n=6)
    store.close()
    file, other = tmp_path / "choices.jsonl", tmp_path / "other"
    assert main.main(["export", "comparisons", str(file), "--workspace", str(settings.workspace)]) == 0
    assert len(file.read_text().splitlines()) == 6
    assert main.main(["import", str(file), "--workspace", str(other)]) == 0
    capsys.readouterr()
    from workbench.store import Store

    with Store(other / "workbench.db") as again:
        assert again.counts()["comparisons"] == 6


def test_train_from_the_command_line_detached_then_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings, store = workspace(tmp_path / "space")
    store.close()
    argv = ["train", "sft", "--detach", "--workspace", str(settings.workspace), "--model", settings.model]
    argv += [f"--set={k}={v}" for k, v in (SMALL | {"steps": 500}).items()]
    began = time.monotonic()
    assert main.main(argv) == 0
    assert "SFT, run 1" in capsys.readouterr().out
    run = find_run(settings.workspace, 1)
    assert run.active and time.monotonic() - began < 60
    assert run.config["args"]["steps"] == 500 and run.config["args"]["batch_size"] == SMALL["batch_size"]
    assert main.main(["stop", "1", "--workspace", str(settings.workspace)]) == 0
    assert capsys.readouterr().out.startswith("Stopped at step ")
    assert find_run(settings.workspace, 1).state == "stopped"
    assert main.main(["runs", "--workspace", str(settings.workspace)]) == 0
    assert "stopped" in capsys.readouterr().out


def test_train_waits_and_tells_and_compare_answers(tmp_path, capsys):
    settings, store = workspace(tmp_path / "space")
    store.close()
    where = ["--workspace", str(settings.workspace), "--model", settings.model]
    argv = ["train", "sft", *where, *[f"--set={k}={v}" for k, v in SMALL.items()]]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "workbench", *argv], capture_output=True, text=True, cwd=ROOT, env=env
    )
    assert process.returncode == 0, process.stderr + process.stdout
    assert "step 8/8" in process.stdout and "Done in" in process.stdout
    assert parse("sft", find_run(settings.workspace, 1).config["args"])
    assert main.main(["compare", "1", "--prompt", "What is 1 plus 1?", *where]) == 0
    shown = capsys.readouterr().out
    assert "> What is 1 plus 1?" in shown and "base: " in shown and "SFT, run 1: " in shown


def test_best_of_n_and_rejection_choose_by_a_reward(tmp_path, capsys):
    settings, store = workspace(tmp_path / "space", n=20)
    written = store.counts()["demonstrations"]
    store.close()
    file = tmp_path / "length.py"
    file.write_text("def reward(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    options = ["--workspace", str(settings.workspace), "--model", settings.model, f"--reward=file:{file}"]
    options += ["--n", "4", "--max-new-tokens", "10"]
    assert main.main(["best-of-n", *options]) == 0
    output = capsys.readouterr().out
    assert [line.split()[0] for line in output.splitlines()[:4]] == ["n", "1", "2", "4"]
    assert "0.64 nats" in output and "Best of 4 against a single sample: reward +" in output
    assert main.main(["rejection", *options, "--keep", "0.5"]) == 0
    output = capsys.readouterr().out
    from workbench.store import Store

    with Store(settings.database) as again:
        chosen = [d for d in again.demonstrations() if d.simulated]
        train = again.prompts("train")
        assert len(again.demonstrations()) == written + len(chosen)
    assert len(chosen) == round(len(train) / 2) and {d.prompt for d in chosen} <= {p.text for p in train}
    assert f"for {len(chosen)} of {len(train)} prompts as simulated demonstrations" in output
    assert f"SFT can now learn from {written + len(chosen)} answers" in output


@pytest.mark.parametrize(
    "argv, message",
    [
        (["best-of-n"], "error: A reward model must judge the answers."),
        (["best-of-n", "--reward", "tasty"], "error: --reward tasty: 'tasty' is not a reward"),
        (["best-of-n", "--reward", "gold", "--prompts", "0"], "error: there are no prompts"),
        (["rejection", "--reward", "gold", "--keep", "2"], "error: keep must be above 0"),
        (["rejection", "--reward", "gold", "--n", "1"], "error: n must be at least 2"),
    ],
)
def test_what_cannot_be_chosen_is_told(argv, message, capsys, tmp_path):
    assert main.main([*argv, "--workspace", str(tmp_path / "space")]) == 1
    assert message in capsys.readouterr().err


def test_a_fault_of_ours_shows_no_traceback_unless_asked(monkeypatch, capsys):
    def broken(args):
        raise KeyError("nowhere")

    monkeypatch.setitem(main.COMMANDS, "runs", (broken, lambda p: None, "Broken."))
    assert main.main(["runs"]) == 1
    assert (
        capsys.readouterr().err
        == "error: this did not work (KeyError: 'nowhere'). WORKBENCH_TRACEBACK=1 shows where.\n"
    )
    monkeypatch.setenv("WORKBENCH_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main.main(["runs"])


def test_prompts_too_long_for_the_model_are_counted_and_passed_over(tmp_path, capsys):
    model = models.load(str(tiny_model.base(tmp_path)), device="cpu")
    long = "x" * 300
    capsys.readouterr()  # what loading says
    assert drop_too_long(model, ["short", long, "also short"], 64) == ["short", "also short"]
    assert capsys.readouterr().err == (
        f"1 of 3 prompts is too long, up to 302 tokens: {tmp_path} reads 192 tokens besides 64 new ones. Skipping it.\n"
    )
    with pytest.raises(ValueError, match=r"^1 of 1 prompt is too long.*Use shorter prompts\.$"):
        drop_too_long(model, [long], 64)
