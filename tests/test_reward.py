"""The reward model: its loss by hand, whole rankings, ties, and a run that saves, reloads and resumes exactly."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from tests import small_runs
from workbench import models
from workbench.jobs import prepare, worker
from workbench.jobs.runs import find_run
from workbench.learn.catalogue import parse
from workbench.learn.methods import reward
from workbench.learn.rewards.reward_model import RewardModel
from workbench.models import llama
from workbench.records import Response, split_of
from workbench.settings import Choice

GOOD, BAD = "Yes, so it is.", "no!"


# The loss


def test_two_answers_with_a_lead_of_one_cost_what_bradley_terry_says():
    loss = reward.ranking_loss(torch.tensor([1.5, 0.5]), reward.pairs_of([[0, 1]]))
    assert loss.item() == pytest.approx(0.3132617, abs=1e-6)  # -log sigmoid(1)


def test_a_tie_is_half_a_vote_each_way():
    pairs = reward.pairs_of([[0, 0]])
    # (log(1 + e^-1) + log(1 + e^1)) / 2
    assert reward.ranking_loss(torch.tensor([1.0, 0.0]), pairs).item() == pytest.approx(0.8132617, abs=1e-6)
    assert reward.ranking_loss(torch.tensor([3.0, 3.0]), pairs).item() == pytest.approx(math.log(2), abs=1e-6)
    scores = torch.tensor([2.0, 2.0], requires_grad=True)
    reward.ranking_loss(scores, pairs).backward()
    assert scores.grad.tolist() == [0.0, 0.0]  # equal scores are where a tie wants them


def test_a_ranking_of_four_weighs_as_much_as_a_vote_on_two():
    pairs = reward.pairs_of([[0, 1, 2, 3], [1, 0]])
    assert len(pairs.weight) == 7
    assert pairs.weight[:6].sum() == pytest.approx(1) and pairs.weight[6] == 1
    scores = torch.tensor([0.3, -0.2, 0.9, 0.1, 0.5, 0.4])
    first = reward.ranking_loss(scores[:4], reward.pairs_of([[0, 1, 2, 3]]))
    second = reward.ranking_loss(scores[4:], reward.pairs_of([[1, 0]]))
    assert reward.ranking_loss(scores, pairs).item() == pytest.approx(((first + second) / 2).item())


def test_all_pairs_of_a_ranking_point_from_the_better_to_the_worse():
    pairs = reward.pairs_of([[2, 0, 0, 1]])
    ties = {(b, w): t for b, w, t in zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.tie.tolist(), strict=True)}
    assert ties == {(1, 0): 0, (2, 0): 0, (3, 0): 0, (1, 2): 1, (1, 3): 0, (2, 3): 0}


def test_one_answer_alone_is_no_comparison():
    with pytest.raises(ValueError, match="at least two answers"):
        reward.pairs_of([[0]])


def test_only_differences_of_scores_count():
    pairs = reward.pairs_of([[0, 1, 1], [1, 0]])
    scores = torch.randn(5, generator=torch.Generator().manual_seed(0))
    shifted = scores + torch.tensor([7.0, 7.0, 7.0, -3.0, -3.0])
    assert torch.allclose(reward.ranking_loss(scores, pairs), reward.ranking_loss(shifted, pairs), atol=1e-6)


# A run


def ranked(folder, n=24):
    """A workspace in which one wording is always preferred, one of three answers in every fourth comparison."""
    settings, store = small_runs.workspace(folder, n)
    for prompt in store.prompts()[: n // 4]:
        three = store.add_responses([Response(0, prompt.id, t, "tiny") for t in (GOOD, "maybe", BAD)])
        ids = [r.id for r in three]
        store.add_comparison(prompt.id, three, [[ids[0]], [ids[1], ids[2]]], ids, "other")
    return settings, store


def finished(settings, store, **changes):
    args = parse("reward", {"steps": 12, "batch_size": 4, "learning_rate": 0.01, "checkpoint_every": 4} | changes)
    run = prepare.prepare_run(settings, store, "reward", args)
    assert worker.main(run.folder) == 0
    return find_run(settings.workspace, run.number)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward") / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        settings, store = ranked(folder)
        with store:
            yield settings, finished(settings, store)


def test_it_learns_which_wording_is_preferred(trained):
    settings, run = trained
    assert run.state == "done" and run.result["accuracy"] == 1.0
    rewards = RewardModel(models.load(settings.model), run.folder)
    good, bad = rewards.score(["What is 40 plus 40?"] * 2, [GOOD, BAD])
    assert good > bad + 0.5


@pytest.mark.parametrize("dropout, by_hand", [(0.0, True), (0.5, False)])
def test_a_small_llama_learns_by_the_forward_written_by_hand_unless_it_drops(tmp_path, monkeypatch, dropout, by_hand):
    """Same scores and gradients as through transformers; dropout is transformers' own, and scoring never drops."""
    settings, store = ranked(tmp_path / "w")
    monkeypatch.setattr(llama, "number_format", lambda device: Choice(torch.float32, "to compare"))
    with store, small_runs.opened(settings, store, "reward", lora_dropout=dropout) as work:
        head = reward.add_head(work.model.hf)
        for name, weight in work.peft.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))
        rows = [{"answers": reward.sequences(one), "places": one.row["places"]} for one in work.examples[:4]]
        batch = reward.collate(rows, reward.pad_id(work.model.tokenizer))
        weights = [w for w in work.peft.parameters() if w.requires_grad]

        def learned(train):
            work.peft.train(train)
            torch.manual_seed(0)
            scores = reward.run(work, work.peft, batch["input_ids"], batch["attention_mask"])
            return [scores, *torch.autograd.grad(scores.square().sum(), [*weights, head.weight])]

        ours = {train: learned(train) for train in (True, False)}
        monkeypatch.setattr(llama, "why_not", lambda hf: "to compare")
        theirs = {train: learned(train) for train in (True, False)}
    for train in (True, False):
        for a, b in zip(ours[train], theirs[train], strict=True):
            assert torch.allclose(a, b, atol=1e-4, rtol=1e-3)
        assert torch.equal(ours[train][0], theirs[train][0]) == (train and not by_hand)


def test_scores_are_identical_after_a_reload(trained):
    settings, run = trained
    prompts, answers = ["What is 3 plus 3?"] * 3, [GOOD, BAD, "something else entirely"]
    first = RewardModel(models.load(settings.model), run.folder).score(prompts, answers)
    again = RewardModel(models.load(settings.model), run.folder).score(prompts, answers)
    assert first == again and len(set(first)) == 3


def test_a_reloaded_model_scores_as_the_one_that_was_trained(tmp_path, trained, monkeypatch):
    """The head would be lost, and the scores garbage, if it were left to PEFT (see the trap of a missing task type)."""
    settings, _ = trained
    scores = {}
    train = reward.train

    def watched(work):
        result = train(work)
        scores["raw"] = reward.score_texts(work, ["What is 3 plus 3?"] * 2, [GOOD, BAD])
        return result

    monkeypatch.setattr(reward, "train", watched)
    settings, store = ranked(tmp_path / "w")
    with store:
        run = finished(settings, store, steps=4)
    rewards = RewardModel(models.load(settings.model), run.folder)
    now = rewards.score(["What is 3 plus 3?"] * 2, [GOOD, BAD])
    assert [s * rewards.std + rewards.mean for s in now] == pytest.approx(scores["raw"], abs=1e-5)


def test_scores_of_the_training_answers_have_mean_0_and_deviation_1(trained):
    settings, run = trained
    rows = [json.loads(line) for line in (run.folder / "data/train.jsonl").read_text().splitlines()]
    scores = RewardModel(models.load(settings.model), run.folder).score(*reward.flatten(rows))
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-4)
    assert sum(s * s for s in scores) / len(scores) == pytest.approx(1, abs=1e-3)


def test_the_adapter_is_a_plain_lora_and_the_head_lies_beside_it(trained):
    _, run = trained
    folder = run.reward_model
    assert {f.name for f in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors", "score.json"}
    assert all(".lora_" in name for name in load_file(folder / "adapter_model.safetensors"))
    assert {k: tuple(v.shape) for k, v in load_file(folder / "score_head.safetensors").items()} == {
        "score.weight": (1, 32)
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM" and not config["modules_to_save"]
    assert run.adapter is None  # it answers nothing: Compare and Start must not offer it


def test_the_run_tells_accuracy_lead_and_sureness_with_intervals(trained):
    _, run = trained
    looks = [r for r in run.metrics(0)[0] if "accuracy" in r]
    assert looks[0]["step"] == 0 and looks[-1]["step"] == 12
    for row in looks:
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] and row["accuracy_n"] > 0
        assert row["margin_low"] <= row["margin"] <= row["margin_high"]
    assert looks[-1]["margin"] > looks[0]["margin"]
    gate = json.loads((run.folder / "gate.json").read_text())
    assert gate["verdict"] == run.result["verdict"] and gate["n"] == run.config["data"]["heldout"]
    assert "Reward model, run" in (run.folder / "README.md").read_text()


def test_a_long_ranking_is_one_row_and_ties_stay_ties(trained):
    _, run = trained
    rows = [json.loads(line) for line in (run.folder / "data/train.jsonl").read_text().splitlines()]
    assert all(split_of(row["prompt"]) == "train" for row in rows)
    assert [0, 1, 1] in [row["places"] for row in rows]
    assert "1. " + GOOD in (run.folder / "first_batch.txt").read_text()


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path, trained, monkeypatch):
    _, whole = trained
    settings, store = ranked(tmp_path / "w")
    with store:
        args = parse("reward", {"steps": 12, "batch_size": 4, "learning_rate": 0.01, "checkpoint_every": 4})
        run = prepare.prepare_run(settings, store, "reward", args)
    loss = reward.Trainer.compute_loss

    def broken(self, *args, **kwargs):
        if self.state.global_step == 6:
            raise RuntimeError("the power went out")
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(reward.Trainer, "compute_loss", broken)
    assert worker.main(run.folder) == 1
    monkeypatch.setattr(reward.Trainer, "compute_loss", loss)
    (run.folder / "status.json").write_text(
        json.dumps({"state": "waiting", "step": 4, "steps": 12, "pid": None, "prepared": 0})
    )
    assert worker.main(run.folder) == 0
    resumed = find_run(settings.workspace, run.number)
    timed = ("seconds", "train_seconds", "peak_mb")
    assert {k: v for k, v in resumed.result.as_json().items() if k not in timed} == {
        k: v for k, v in whole.result.as_json().items() if k not in timed
    }
    for name in ("adapter_model.safetensors", "score_head.safetensors"):
        a, b = (load_file(r.reward_model / name) for r in (whole, resumed))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_reward_model_starts_from_sft_but_nothing_starts_from_it(tmp_path):
    settings, store = ranked(tmp_path / "w")
    with store:
        first = prepare.prepare_run(
            settings, store, "sft", parse("sft", {"steps": 2, "batch_size": 4, "live_prompts": 0})
        )
        assert worker.main(first.folder) == 0
        args = parse("reward", {"steps": 2, "batch_size": 4, "micro_batch": 2})
        second = prepare.prepare_run(settings, store, "reward", args, start_from=first.number)
        assert worker.main(second.folder) == 0
        with pytest.raises(ValueError, match="no trained model to start from"):
            prepare.prepare_run(settings, store, "dpo", parse("dpo", {}), start_from=second.number)
    reward_model = RewardModel(models.load(settings.model), find_run(settings.workspace, second.number).folder)
    assert all(math.isfinite(s) for s in reward_model.score(["a", "b"], [GOOD, ""]))
