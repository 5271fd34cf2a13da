"""The process reward: where steps are read, how an answer's score comes of its steps, and that it learns and reloads."""

import math

import pytest
import torch

from tests import tiny_model
from workbench import models
from workbench.learn import process_reward as pr
from workbench.learn.process_reward import ProcessRewardArgs, ProcessRewardModel, Steps
from workbench.models import ModelError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("base") / "tiny")


def test_a_step_is_read_at_its_last_token_and_the_last_at_the_end_token(base):
    model = models.load(str(base))
    ids, places = pr.encode(model, "q", ["ab. ", "c.", " né"])
    words = model.tokenizer
    assert words.decode(ids) == "<|user|>q<|assistant|>ab. c. né<|end|>"
    start = len(model.prompt_ids("q"))
    assert words.decode(ids[start : places[0] + 1]) == "ab. "
    assert words.decode(ids[start : places[1] + 1]) == "ab. c."
    assert ids[places[2]] == words.eos_token_id and places[2] == len(ids) - 1
    assert pr.encode(model, "q", [""])[1] == [start]


def test_the_score_of_an_answer_by_hand():
    # steps wrong with .1 and .5, right with .8 and .2: log(.9 * .5) and log(1 - .2 * .8)
    steps = [(0.1, 0.1, 0.8), (0.5, 0.3, 0.2)]
    assert pr.answer_score(steps, "product") == pytest.approx((math.log(0.45), math.log(0.84)))
    assert pr.answer_score(steps) == pytest.approx((math.log(0.5), math.log(0.84)))
    silent = sum(pr.answer_score([(0.0, 1.0, 0.0)]))
    assert silent < sum(pr.answer_score([(0.3, 0.0, 0.7)]))  # saying nothing is not the safest


def test_an_outcome_is_one_step():
    rows = [Steps("q", ("a.", " b."), (1, -1))]
    assert pr.whole(rows, [True]) == [Steps("q", ("a. b.",), (1,))]


@pytest.mark.parametrize(
    "row, message",
    [
        (Steps("q", ("a",), (1, 0)), "row 1: 1 steps, but 2 labels"),
        (Steps("q", ("a",), (2,)), "row 1: labels must be -1, 0 or 1"),
        (Steps("q", (), ()), "row 1: 0 steps"),
    ],
)
def test_bad_rows_are_named(base, tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        pr.train(models.load(str(base)), [row], tmp_path)
    with pytest.raises(ValueError, match="no labelled steps"):
        pr.train(models.load(str(base)), [], tmp_path)


RIGHT, WRONG, NOTHING = "Yes.", " No.", " Hm."
ARGS = ProcessRewardArgs(steps=40, batch_size=8, learning_rate=0.01, lora_rank=4, lora_alpha=8)


def rows():
    kinds = {RIGHT: 1, WRONG: -1, NOTHING: 0}
    texts = [(RIGHT,), (RIGHT, WRONG), (RIGHT, NOTHING), (RIGHT, NOTHING, WRONG), (RIGHT, WRONG, NOTHING)]
    return [Steps(f"q{i}", steps, tuple(kinds[s] for s in steps)) for i in range(8) for steps in texts]


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("process") / "run"
    model = models.load(str(base))
    before = {n: p.clone() for n, p in model.hf.named_parameters()}
    losses = []
    pr.train(model, rows(), folder, ARGS, lambda step, loss: losses.append(loss))
    after = {n.replace(".base_layer", ""): p for n, p in model.hf.named_parameters() if "lora" not in n}
    assert after.keys() == before.keys() and all(torch.equal(after[n], p) for n, p in before.items())
    return folder, losses


def test_it_learns_which_steps_are_wrong(base, trained):
    folder, losses = trained
    assert losses[-1] < 0.3 < losses[0]
    rewards = ProcessRewardModel(models.load(str(base)), folder)
    found = rewards.steps(["q9"], [RIGHT + NOTHING + WRONG])[0]
    assert [text for text, _ in found] == [RIGHT, NOTHING, WRONG]
    assert [max(range(3), key=lambda k: p[k]) - 1 for _, p in found] == [1, 0, -1]
    assert all(sum(p) == pytest.approx(1, abs=1e-5) for _, p in found)
    good, bad = rewards.score(["q9", "q9"], [RIGHT + NOTHING, RIGHT + NOTHING + WRONG])
    assert good > bad


def test_scores_are_identical_after_a_reload(base, trained):
    answers = [RIGHT, RIGHT + WRONG, ""]
    first, again = (ProcessRewardModel(models.load(str(base)), trained[0]).score(["q"] * 3, answers) for _ in range(2))
    assert first == again and all(math.isfinite(s) for s in first)


def test_the_hand_written_forward_and_transformers_agree(base, trained, monkeypatch):
    answers = [RIGHT + WRONG, RIGHT]
    fast = ProcessRewardModel(models.load(str(base)), trained[0]).score(["q"] * 2, answers)
    monkeypatch.setattr(pr.llama, "why_not", lambda hf: "to compare")
    plain = ProcessRewardModel(models.load(str(base)), trained[0]).score(["q"] * 2, answers)
    assert plain == pytest.approx(fast, abs=1e-4)


def test_what_is_no_process_reward_says_so(base, tmp_path):
    with pytest.raises(ModelError, match="holds no process reward"):
        ProcessRewardModel(models.load(str(base)), tmp_path)
