"""SFT in this process on a model of a few thousand weights: what is learned from, what is rejected, what stays as it was."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from tests.small_runs import SMALL, workspace
from workbench.jobs import control, prepare
from workbench.jobs.runs import list_runs, read_run
from workbench.jobs.worker import explain
from workbench.learn import data
from workbench.learn.catalogue import parse
from workbench.learn.engine import adapter, checkpoints, evaluation, trl_trainer
from workbench.learn.engine.reporter import NotFinite, Reporter
from workbench.learn.engine.work import Work
from workbench.learn.methods import sft


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    settings, store = workspace(tmp_path_factory.mktemp("sft") / "space")
    with store:
        yield settings, store


@pytest.fixture
def opened(place):
    """Open a new run with these settings, as its process would."""
    settings, store = place
    reports = []

    def open_(method="sft", start_from=None, **changes):
        changes = {
            "seed": len(list_runs(settings.workspace))
        } | changes  # no two runs alike: alike means a double click
        run = prepare.prepare_run(settings, store, method, parse(method, SMALL | {"held_out": 4} | changes), start_from)
        control.write_status(run.folder, state="done")  # nobody is to take it for a job that died
        report = Reporter(run.folder)
        report.status(steps=run.config["args"]["steps"])
        reports.append(report)
        return Work.open(run, report)

    yield open_
    for report in reports:
        report.close()


def test_only_the_answer_is_learned_from_its_end_included(opened):
    work = opened()
    row = sft.rows(work)[0]
    tokenizer = work.model.tokenizer
    first = work.train[data.order(work.train, 1, work.args.seed)[0]]
    assert tokenizer.decode(row["input_ids"]) == f"<|user|>{first['prompt']}<|assistant|>{first['completion']}<|end|>"
    learned = [i for i in row["labels"] if i != -100]
    assert tokenizer.decode(learned) == f"{first['completion']}<|end|>"
    assert len(row["labels"]) == len(row["input_ids"])
    assert len(sft.rows(work)) == SMALL["steps"] * SMALL["batch_size"]


def test_the_first_batch_is_written_as_text(opened):
    work = opened()
    text = (work.folder / "first_batch.txt").read_text()
    assert text.count("--- example") == SMALL["batch_size"]
    assert "[completion] It is" in text and "<|end|>" in text


def test_order_gives_every_judgement_once_a_round_and_one_pair_of_a_ranking():
    rows = [{"id": "a"}, {"id": "b"}, {"id": "b"}, {"id": "b"}, {"id": "c"}]
    chosen = data.order(rows, 30, seed=0)
    for start in range(0, 30, 3):
        assert sorted(rows[i]["id"] for i in chosen[start : start + 3]) == ["a", "b", "c"]
    assert {i for i in chosen if rows[i]["id"] == "b"} == {1, 2, 3}
    assert chosen == data.order(rows, 30, seed=0) != data.order(rows, 30, seed=1)


def test_training_makes_the_answers_likely_and_leaves_the_base_alone(opened):
    work = opened(steps=16, learning_rate=0.01, evaluate_every=8)
    before = adapter.frozen_hash(work.peft)
    result = sft.train(work)
    losses = [r["heldout_loss"] for r in read_run(work.folder).metrics()[0] if "heldout_loss" in r]
    assert losses[-1] < losses[0] - 0.5
    assert adapter.frozen_hash(work.peft) == before
    assert result["heldout_loss_n"] == 4 and result["steps"] == 16
    assert result["heldout_loss_low"] <= result["heldout_loss"] <= result["heldout_loss_high"]
    assert {f.name for f in (work.folder / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    trained = [name for name, weight in work.peft.named_parameters() if weight.requires_grad]
    assert trained and all("lora_" in name and ".default." in name for name in trained)


def test_heldout_loss_is_the_cross_entropy_of_the_model(opened):
    work = opened()
    work.peft.eval()
    got = sft.heldout_loss(work, 0)["heldout_loss"]
    total, count = 0.0, 0
    for row in work.heldout:
        start = work.model.prompt_ids(row["prompt"])
        end = work.model.answer_ids(row["completion"])
        with torch.no_grad():
            logits = work.model.hf(torch.tensor([start + end])).logits[0]
        logps = logits.log_softmax(-1)[len(start) - 1 : -1]
        total -= logps[range(len(end)), end].sum().item()
        count += len(end)
    assert got == pytest.approx(total / count, abs=1e-4)


def test_micro_batches_make_the_same_updates(opened):
    whole = sft.train(opened(seed=50))
    parts = sft.train(opened(seed=50, micro_batch=2))
    assert parts["heldout_loss"] == pytest.approx(whole["heldout_loss"], abs=1e-3)


def test_13_a_step_without_a_valid_number_changes_nothing_and_is_a_gap(opened, monkeypatch):
    work = opened(steps=4, evaluate_every=4, schedule="constant", warmup=0)
    plain, weights = sft.SFTTrainer.compute_loss, []

    def loss(self, model, inputs, **more):
        value = plain(self, model, inputs, **more)
        weights.append({n: w.detach().clone() for n, w in work.peft.named_parameters() if w.requires_grad})
        return value * float("nan") if len(weights) == 3 else value

    monkeypatch.setattr(sft.SFTTrainer, "compute_loss", loss)
    sft.train(work)
    rows = read_run(work.folder).metrics()[0]
    assert [r["step"] for r in rows if "loss" in r] == [1, 2, 4]
    assert {"step": 3, "rejected": True} in rows
    assert work.report.get("notices") == ["Step 3 gave no valid number and was skipped."]
    same = [torch.equal(weights[2][n], weights[3][n]) for n in weights[2]]
    assert all(same), "the weights before step 4 are those before step 3"
    assert not all(torch.equal(weights[1][n], weights[2][n]) for n in weights[1])


def test_13_several_such_steps_in_a_row_stop_the_job(opened, monkeypatch):
    work = opened(steps=9)
    monkeypatch.setattr(
        sft.SFTTrainer,
        "compute_loss",
        lambda self, model, inputs, **_: sum(w.sum() for w in model.parameters()) * float("inf"),
    )
    with pytest.raises(NotFinite) as error:
        sft.train(work)
    run = read_run(work.folder)
    assert [r["step"] for r in run.metrics()[0] if r.get("rejected")] == [1, 2, 3]
    assert explain(run, 3, error.value) == (
        f"Run {run.number} stopped: no valid number in 3 steps in a row at step 3. Nothing before it is lost. "
        "Try a smaller learning rate than 0.003."
    )


def test_advice_follows_the_cause_of_what_is_no_number(opened):
    run = read_run(opened().folder)
    run.config["args"]["reward"] = "file:mine.py"
    assert "Try a smaller learning rate than 0.003." in explain(run, 3, NotFinite("x"))
    text = explain(run, 3, NotFinite("the reward of 1 of 8 answers is not a finite number", "reward"))
    assert "learning rate" not in text and "file:mine.py, gives a finite number" in text
    assert "learning rate" not in explain(run, 3, NotFinite("x", "model"))


def test_a_base_without_numbers_is_the_cause_and_the_learning_rate_is_not(opened):
    work = opened(steps=9)
    assert evaluation.not_finite_cause(work) == "update"
    with torch.no_grad():
        work.model.hf.lm_head.weight.fill_(float("nan"))
    work.frozen = adapter.frozen_hash(work.peft)  # as if it had been loaded so
    with pytest.raises(NotFinite) as error:
        sft.train(work)
    assert error.value.cause == "model"


def test_memory_that_runs_out_is_said_with_what_to_do(opened):
    run = read_run(opened().folder)
    text = explain(run, 12, RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert text == (
        f"Run {run.number} stopped: out of memory at step 12. Nothing before it is lost. Try Quick, or a micro_batch of 2."
    )


def test_35_a_changed_base_stops_the_run(opened):
    work = opened()
    with torch.no_grad():
        next(w for w in work.peft.parameters() if not w.requires_grad).add_(1e-3)
    with pytest.raises(RuntimeError, match="frozen have changed"):
        evaluation.finish(work)
    assert not (work.folder / "adapter").exists()


def test_a_checkpoint_holds_no_pickle_and_brings_back_the_optimizer(opened):
    work = opened()
    sft.train(work)
    newest, notices = checkpoints.newest(work.folder / "checkpoints")
    assert notices == [] and checkpoints.step_of(newest) == SMALL["steps"]
    suffixes = {f.suffix for f in work.folder.rglob("*") if f.is_file() and f.name != ".reserve"}
    assert suffixes <= {".json", ".jsonl", ".safetensors", ".txt", ".md"}
    state = json.loads((newest / "state.json").read_text())
    assert state["step"] == SMALL["steps"] and state["schedule"]["last_epoch"] == SMALL["steps"]
    assert len(list((work.folder / "checkpoints").iterdir())) == checkpoints.KEEP


def test_settings_of_trl_are_ours_where_its_defaults_do_not_suit(opened):
    work = opened()
    arguments = trl_trainer.trainer_settings(work)
    assert arguments["bf16"] is False and arguments["logging_steps"] == 1 and arguments["report_to"] == "none"
    assert arguments["learning_rate"] == 0.003
    assert asdict(replace(work.args, seed=1))["seed"] == 1
    assert issubclass(sft.Trainer, trl_trainer.Tracked)
