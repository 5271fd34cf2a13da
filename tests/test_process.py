"""The process reward as a job: its loss and its shares by hand, its verdict, and a run that resumes and is reloaded."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests import small_runs
from workbench import models
from workbench.collect.simulated import label_answers
from workbench.intervals import clustered, wilson
from workbench.jobs import control, prepare, worker
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import parse
from workbench.learn.engine.reporter import Reporter
from workbench.learn.engine.work import Work
from workbench.learn.examples import Example
from workbench.learn.methods import prm
from workbench.learn.rewards import sources
from workbench.learn.rewards import verdict as verdict_module
from workbench.learn.rewards.process_reward_model import ProcessRewardModel
from workbench.models import llama
from workbench.records import split_of
from workbench.settings import Choice
from workbench.store import Store

RIGHT, WRONG, NOTHING = "Yes.", " No.", " Hm."
KINDS = {RIGHT: 1, WRONG: -1, NOTHING: 0}
TEXTS = [(RIGHT,), (RIGHT, WRONG), (RIGHT, NOTHING), (RIGHT, NOTHING, WRONG)]
ARGS = {"steps": 24, "batch_size": 8, "learning_rate": 0.01, "checkpoint_every": 8, "evaluate_every": 8}


# By hand


def test_groups_whose_members_are_alike_count_as_few():
    # shares 1 and 0: variance .25 of the share .5, which is that of one example
    assert clustered([2, 0], [2, 2]) == (0.5, *wilson(0.5, 1), 4)
    assert clustered([1, 1], [2, 2]) == (0.5, *wilson(2, 4), 4)  # no spread between them: four examples
    assert clustered([2, 2], [2, 2]) == (1.0, *wilson(2, 2), 4)  # nothing is known of the spread: one a group
    assert clustered([1], [3]) == (1 / 3, *wilson(1 / 3, 1), 3)
    with pytest.raises(ValueError, match="at least one"):
        clustered([], [])


def test_shares_of_steps_and_of_whole_answers():
    rows = [{"prompt": "p", "labels": [1, -1]}, {"prompt": "p", "labels": [1, 0]}, {"prompt": "q", "labels": [0]}]
    judgements = [(rows[0], [1, 1]), (rows[1], [1, 1]), (rows[2], [0])]
    # steps met 1, 1 of 2 each and 1 of 1; the first answer is wrong as a whole and was found right
    assert prm.steps_right(judgements)[0] == pytest.approx(3 / 5) and prm.steps_right(judgements)[3] == 5
    assert prm.answers_right(judgements)[0] == pytest.approx(2 / 3) and prm.answers_right(judgements)[3] == 3
    assert not prm.sound([0, 0]) and prm.sound([0, 1]) and not prm.sound([1, 1, -1])


def test_every_step_of_a_batch_counts_the_same_however_it_is_cut_up():
    """Two answers of 1 and 3 steps, loss log 3 each step: 4 steps share a weight of 1, in one part or in two."""

    rows = [{"id": i, "labels": [1] * n} for i, n in enumerate((1, 3))]
    examples = [Example(row, [1], {"completion": [1] * 3}, places=(0,) * len(row["labels"])) for row in rows]
    for micro, share in ((2, 1 / 4), (1, 2 / 4)):
        args = parse("prm", {"steps": 1, "batch_size": 2, "micro_batch": micro})
        dataset = prm.in_order(SimpleNamespace(args=args, train=rows, examples=examples))
        assert dataset["share"] == [share, share]
    batch = prm.collate([dataset[0], dataset[1]], pad=0)
    order = [len(labels) for labels in dataset["labels"]]
    assert batch["row"].tolist() == [0] * order[0] + [1] * order[1] and len(batch["share"]) == 4


def verdict(predictions, labels, prompts=None):
    prompts = prompts or [str(i) for i in range(len(predictions))]
    judgements = [({"prompt": p, "labels": b}, a) for p, a, b in zip(prompts, predictions, labels, strict=True)]
    return prm.gate(judgements, 0)


def test_the_verdict_compares_with_the_commonest_label():
    good, bad = [1, 1], [1, -1]
    assert verdict([good, bad] * 30, [good, bad] * 30)["verdict"] == "green"
    assert verdict([good] * 60, [good, bad] * 30)["verdict"] == "red"  # it says the same of all
    assert verdict([good, bad] * 6, [good, bad] * 6)["verdict"] == "amber"  # too few to be sure
    none = verdict([], [])
    assert none["verdict"] == "red" and "no held-out answers" in none["reason"]
    report = verdict([good, bad] * 30, [good, bad] * 30)
    assert report["accuracy"]["n"] == 60 and {f["check"] for f in report["findings"]} == {"answers", "steps"}


# A run


def labelled(folder, n=80):
    """A workspace in which one step is right, one wrong and one neutral, each answer to a prompt of its own."""
    settings, store = small_runs.workspace(folder, n)
    for i, prompt in enumerate(store.prompts()):
        steps = TEXTS[i % len(TEXTS)]
        store.add_step_labels(prompt.id, steps, [KINDS[s] for s in steps], "me", simulated=i % 2 == 0)
    return settings, store


def prepared(settings, store, **changes):
    return prepare.prepare_run(settings, store, "prm", parse("prm", ARGS | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("process") / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        settings, store = labelled(folder)
        with store:
            run = prepared(settings, store)
            assert worker.main(run.folder) == 0
            yield settings, store, find_run(settings.workspace, run.number)


def test_it_learns_which_steps_are_wrong_on_prompts_never_trained_on(trained):
    settings, _, run = trained
    rows = [json.loads(line) for line in (run.folder / "data/train.jsonl").read_text().splitlines()]
    assert rows and all(split_of(row["prompt"]) == "train" for row in rows)
    assert run.state == "done" and run.result["accuracy"] == 1.0 and run.result["answers"] == 1.0
    held = run.config["data"]["heldout"]
    assert run.result["answers_n"] == held and run.result["answers_low"] < 1.0
    rewards = ProcessRewardModel(models.load(settings.model), run.folder)
    good, bad = rewards.score(["What is 90 plus 90?"] * 2, [RIGHT + NOTHING, RIGHT + NOTHING + WRONG])
    assert good > bad + 0.5
    rows = [json.loads(line) for line in (run.folder / "data/heldout.jsonl").read_text().splitlines()]
    judged = rewards.steps([row["prompt"] for row in rows], ["".join(row["steps"]) for row in rows])
    assert [[max(range(3), key=lambda k: p[k]) - 1 for _, p in steps] for steps in judged] == [
        r["labels"] for r in rows
    ]


def test_the_run_tells_of_steps_and_answers_and_the_first_batch_shows_labels(trained):
    _, _, run = trained
    looks = [r for r in run.metrics(0)[0] if "accuracy" in r]
    assert [row["step"] for row in looks] == [0, 8, 16, 24]
    assert all(r[f"{k}_low"] <= r[k] <= r[f"{k}_high"] for r in looks for k in ("accuracy", "answers"))
    assert "[wrong] No." in (run.folder / "first_batch.txt").read_text()
    assert run.config["data"]["simulated"] == 40
    assert "answers judged correctly as a whole" in (run.folder / "README.md").read_text()


def test_it_is_a_reward_and_no_model_that_answers(trained):
    settings, _, run = trained
    assert run.adapter is None and run.reward_model is None and run.scorer is not None
    assert {f.name for f in run.scorer.iterdir()} >= {"step_head.safetensors", "adapter_config.json", "score.json"}
    assert sources.settle("newest", settings) == (
        f"run:{run.number}",
        f"run {run.number} is the newest process reward model, and there is no reward model",
    )
    model = models.load(settings.model)
    score = sources.build(f"0.5*run:{run.number}", settings.workspace / "runs", model)
    whole = ProcessRewardModel(models.load(settings.model), run.folder).score(["q"], [RIGHT])
    assert score(["q"], [RIGHT]) == pytest.approx([0.5 * whole[0]])
    gate_result = verdict_module.verdict(run.folder)
    assert gate_result.level == "amber" and "too few" in gate_result.reason and gate_result.simulated == 40


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_it_can_be_raised(trained, method):
    settings, store, run = trained
    args = small_runs.small(method) | {"steps": 2, "reward": f"run:{run.number}"}
    ran = prepare.prepare_run(settings, store, method, parse(method, args))
    assert worker.main(ran.folder) == 0
    rewards = [row["reward"] for row in ran.metrics(0)[0] if "reward" in row]
    assert len(rewards) == 2 and all(math.isfinite(r) and r < 0 for r in rewards)  # log-probabilities


def test_smaller_parts_give_the_same_model(trained, monkeypatch):
    settings, store, _ = trained
    monkeypatch.setattr(llama, "number_format", lambda device: Choice(torch.float32, "to compare"))
    heads = []
    for parts in (None, 2):
        run = prepared(settings, store, micro_batch=parts)
        assert worker.main(run.folder) == 0
        heads.append(load_file(run.folder / "adapter" / "step_head.safetensors"))
    assert all(torch.allclose(heads[0][k], heads[1][k], atol=1e-3) for k in heads[0])


def test_a_resumed_run_equals_the_uninterrupted_one(trained, monkeypatch, tmp_path):
    _, _, whole = trained
    settings, store = labelled(tmp_path / "w")
    with store:
        run = prepared(settings, store)
    loss = prm.Trainer.compute_loss

    def broken(self, *args, **kwargs):
        if self.state.global_step == 12:
            raise RuntimeError("the power went out")
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(prm.Trainer, "compute_loss", broken)
    assert worker.main(run.folder) == 1
    monkeypatch.setattr(prm.Trainer, "compute_loss", loss)
    status = {"state": "waiting", "step": 8, "steps": 24, "pid": None, "prepared": 0}
    (run.folder / "status.json").write_text(json.dumps(status))
    assert worker.main(run.folder) == 0
    resumed = find_run(settings.workspace, run.number)
    timed = ("seconds", "train_seconds", "peak_mb")
    assert {k: v for k, v in resumed.result.as_json().items() if k not in timed} == {
        k: v for k, v in whole.result.as_json().items() if k not in timed
    }
    for name in ("adapter_model.safetensors", "step_head.safetensors"):
        a, b = (load_file(r.scorer / name) for r in (whole, resumed))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_stop_and_save_keeps_a_whole_process_reward(trained):
    settings, store, _ = trained
    run = prepared(settings, store, seed=5)
    (run.folder / "stop").write_text("save")
    assert worker.main(run.folder) == 0
    stopped = find_run(settings.workspace, run.number)
    assert stopped.state == "stopped" and stopped.result["steps"] == 1 and stopped.resumable
    assert ProcessRewardModel(models.load(settings.model), run.folder).score(["q"], [RIGHT])


def test_answers_that_do_not_fit_are_cut_or_left_out_and_said(tmp_path):
    settings, store = labelled(tmp_path / "w", 12)
    with store:
        long = store.prompts()[0]
        store.add_step_labels(long.id, ["a" * 100, " No."], [1, -1], "me")
        start = max(len(f"<|user|>{p.text}") for p in store.prompts()) - 16 + 4  # two special tokens are one each
        run = prepared(settings, store, max_tokens=start + 14)
        control.write_status(run.folder, state="done")
        report = Reporter(run.folder)
        try:
            work = Work.open(run, report)
        finally:
            report.close()
    rows = [prm.encoded(one) for one in work.examples]
    assert all(len(row["ids"]) <= work.args.max_tokens for row in rows)
    assert all(len(row["places"]) == len(row["labels"]) for row in rows)
    left_out = [text for text in work.report.get("notices") if "none of their steps fit into max_tokens" in text]
    assert len(left_out) == 1 and left_out[0].startswith("1 of "), work.report.get("notices")


def test_on_the_sandbox_it_ends_with_best_of_n_on_held_out_word_problems(settings):
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with Store(settings.database) as store:
        label_answers(store, models.load("sandbox"), {"train": 16, "heldout": 8})
        run = prepare.prepare_run(settings, store, "prm", parse("prm", {"steps": 2, "final_prompts": 5}))
    assert worker.main(run.folder) == 0
    figures = find_run(settings.workspace, run.number).result["best_of_n"]
    assert figures["n"] == 5 and figures["ns"] == [1, 2, 4, 8, 16]
    assert all(low <= value <= high for value, low, high in [*figures["reward"], *figures["majority"], figures["one"]])
