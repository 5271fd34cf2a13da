"""The process reward: where steps are read, how an answer's score comes of its steps, and that it reloads."""

import math

import pytest

from tests import reward_runs, tiny_model
from workbench import models
from workbench.learn.rewards import process_reward_model
from workbench.learn.rewards.process_reward_model import ProcessRewardModel
from workbench.models import ModelError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("base") / "tiny")


def test_a_step_is_read_at_its_last_token_and_the_last_at_the_end_token(base):
    model = models.load(str(base))
    ids, places = process_reward_model.encode(model, "q", ["ab. ", "c.", " né"])
    tokenizer = model.tokenizer
    assert tokenizer.decode(ids) == "<|user|>q<|assistant|>ab. c. né<|end|>"
    start = len(model.prompt_ids("q"))
    assert tokenizer.decode(ids[start : places[0] + 1]) == "ab. "
    assert tokenizer.decode(ids[start : places[1] + 1]) == "ab. c."
    assert ids[places[2]] == tokenizer.eos_token_id and places[2] == len(ids) - 1
    assert process_reward_model.encode(model, "q", [""])[1] == [start]


def test_the_score_of_an_answer_by_hand():
    # steps wrong with .1 and .5, right with .8 and .2: log(.9 * .5) and log(1 - .2 * .8)
    steps = [(0.1, 0.1, 0.8), (0.5, 0.3, 0.2)]
    assert process_reward_model.answer_score(steps, "product") == pytest.approx((math.log(0.45), math.log(0.84)))
    assert process_reward_model.answer_score(steps) == pytest.approx((math.log(0.5), math.log(0.84)))
    silent = sum(process_reward_model.answer_score([(0.0, 1.0, 0.0)]))
    assert silent < sum(process_reward_model.answer_score([(0.3, 0.0, 0.7)]))  # saying nothing is not the safest


RIGHT, WRONG = "Yes.", " No."


@pytest.fixture(scope="module")
def saved(base, tmp_path_factory):
    """A process reward's files: an adapter and a head of random weights, answers cut into sentences."""
    return reward_runs.step_weights(tmp_path_factory.mktemp("process"), base, seed=1)


def test_every_step_gets_three_probabilities(base, saved):
    rewards = ProcessRewardModel(models.load(str(base)), saved)
    steps = rewards.steps(["q"], [RIGHT + WRONG])[0]
    assert [text for text, _ in steps] == [RIGHT, WRONG]
    assert all(sum(p) == pytest.approx(1, abs=1e-5) for _, p in steps)
    assert rewards.score(["q"], [RIGHT + WRONG]) == [
        pytest.approx(sum(process_reward_model.answer_score([p for _, p in steps])))
    ]


def test_scores_are_identical_after_a_reload(base, saved):
    answers = [RIGHT, RIGHT + WRONG, ""]
    first, again = (ProcessRewardModel(models.load(str(base)), saved).score(["q"] * 3, answers) for _ in range(2))
    assert first == again and all(math.isfinite(s) for s in first) and len(set(first)) == 3


def test_the_hand_written_forward_and_transformers_agree(base, saved, monkeypatch):
    answers = [RIGHT + WRONG, RIGHT]
    fast = ProcessRewardModel(models.load(str(base)), saved).score(["q"] * 2, answers)
    monkeypatch.setattr(process_reward_model.llama, "why_not", lambda hf: "to compare")
    plain = ProcessRewardModel(models.load(str(base)), saved).score(["q"] * 2, answers)
    assert plain == pytest.approx(fast, abs=1e-4)


def test_what_is_no_process_reward_says_so(base, tmp_path):
    with pytest.raises(ModelError, match="holds no reward model: there is no step_head"):
        ProcessRewardModel(models.load(str(base)), tmp_path)
