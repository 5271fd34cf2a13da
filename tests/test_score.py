"""Scoring text with a reward model: the score is the head's reading of the end token; files, token by token, clear errors."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests import reward_runs, tiny_model
from workbench import models
from workbench.cli import main
from workbench.learn.rewards import reward_model, scoring
from workbench.learn.rewards.process_reward_model import ProcessRewardModel
from workbench.learn.rewards.reward_model import RewardModel
from workbench.learn.rewards.scoring import read_rows, score_file
from workbench.models import ModelError


def reward_run(folder, base, seed=0, mean=0.5, std=2.0):
    """A reward run's folder with random weights."""
    tiny_model.adapter(base, folder / "adapter", seed)
    weight = torch.randn(1, 32, generator=torch.Generator().manual_seed(seed))
    save_file({"score.weight": weight}, folder / "adapter" / "score_head.safetensors")
    (folder / "adapter" / "score.json").write_text(json.dumps({"mean": mean, "std": std, "pooling": "end"}))
    (folder / "config.json").write_text(json.dumps({"number": 1, "method": "reward", "model": str(base)}))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def folder(base):
    return reward_run(base.parent / "run", base)


@pytest.fixture
def rewards(base, folder):
    return RewardModel(models.load(str(base)), folder)


def test_a_score_is_the_heads_reading_of_the_end_token(base, folder, rewards):
    """The same arithmetic by transformers and PEFT alone."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    tokenizer = rewards.model.tokenizer
    ids = [*rewards.model.prompt_ids("How are you?"), *tokenizer("fine")["input_ids"], tokenizer.eos_token_id]
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter")
    with torch.no_grad():
        hidden = plain(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
    raw = float(hidden @ load_file(folder / "adapter" / "score_head.safetensors")["score.weight"][0])
    assert rewards.score(["How are you?"], ["fine"])[0] == pytest.approx((raw - 0.5) / 2.0, abs=1e-5)


def test_a_score_does_not_depend_on_what_else_is_in_the_batch(rewards):
    answers = ["a", "a much longer answer, with more to it", "", "ok"]
    together = rewards.score(["q"] * 4, answers)
    alone = [rewards.score(["q"], [a])[0] for a in answers]
    assert together == pytest.approx(alone, abs=1e-5)
    assert rewards.score(["q"] * 4, answers, batch_size=2) == pytest.approx(together, abs=1e-5)


def test_scoring_leaves_the_base_as_it_was(rewards):
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = rewards.model.hf(ids).logits
        rewards.score(["q"], ["a"])
        assert torch.equal(before, rewards.model.hf(ids).logits)


def test_token_scores_join_to_the_answer_and_end_in_its_score(rewards):
    scores = rewards.token_scores("q", "né ok")
    assert "".join(text for text, _ in scores) == "né ok"
    assert scores[-1][1] == pytest.approx(rewards.score(["q"], ["né ok"])[0], abs=1e-5)
    assert scores[0][1] == pytest.approx(rewards.score(["q"], ["n"])[0], abs=1e-5)
    assert rewards.token_scores("q", "") == []


def test_every_beginning_scores_in_one_pass_as_it_would_alone(rewards, monkeypatch):
    text = "a fine answer, and long"
    alone = rewards.score(["q"] * len(text), [text[: i + 1] for i in range(len(text))])
    assert reward_model.one_pass(rewards.model.hf)
    assert [s for _, s in rewards.token_scores("q", text)] == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr(rewards.model.hf.config, "sliding_window", 8, raising=False)
    assert not reward_model.one_pass(rewards.model.hf)
    assert [s for _, s in rewards.token_scores("q", text)] == pytest.approx(alone, abs=1e-5)
    with pytest.raises(ValueError, match="has 405 tokens"):
        rewards.token_scores("a", "x" * 401)


def test_lists_that_do_not_match_and_texts_too_long_are_refused(rewards):
    with pytest.raises(ValueError, match="2 prompts, but 1 answers"):
        rewards.score(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="text 1 has 405 tokens"):
        rewards.score(["a"], ["x" * 401])


def test_a_folder_without_a_head_is_no_reward_model(base, tmp_path):
    tiny_model.adapter(base, tmp_path / "adapter")
    with pytest.raises(ModelError, match="holds no reward model"):
        RewardModel(models.load(str(base)), tmp_path)


def test_a_reward_model_of_another_base_is_refused(folder, tmp_path):
    other = tiny_model.base(tmp_path / "other", hidden_size=16, num_attention_heads=2)
    with pytest.raises(ModelError, match="was made for the model"):
        RewardModel(models.load(str(other)), folder)


# Files


def test_jsonl_good_lines_are_scored_and_bad_ones_named(tmp_path, rewards):
    file = tmp_path / "a.jsonl"
    lines = [
        b'\xef\xbb\xbf{"prompt": "q", "response": "a"}\r',
        b'{"prompt": "q"',
        b'{"prompt": "", "response": "a"}',
        b"",
        b'{"prompt": "q", "response": 3}',
        b'{"prompt": "q"}',
        b'["q", "a"]',
        b'{"prompt": "q", "response": "\xff"}',
        b'{"prompt": "q", "response": ""}',
        b'{"prompt": "q", "response": "' + b"x" * 400 + b'"}',
        b'{"prompt": "q", "completion": "a"}',
    ]
    file.write_bytes(b"\n".join(lines))
    scored, bad = score_file(rewards, file)
    assert [row["line"] for row in scored] == [1, 9, 11]
    assert scored[0]["score"] == scored[2]["score"] == round(rewards.score(["q"], ["a"])[0], 4)
    reasons = {b.line: b.reason for b in bad}
    assert list(reasons) == [2, 3, 5, 6, 7, 8, 10]
    assert "not valid JSON" in reasons[2] and "prompt is missing or empty" in reasons[3]
    assert "is not text" in reasons[5] and "response is missing" in reasons[6]
    assert "not an object" in reasons[7] and "not valid JSON" in reasons[8]
    assert "404 tokens" in reasons[10] and "reads only 256" in reasons[10]


def test_csv_counts_the_lines_of_the_file(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('prompt,response\nq,"two\nlines"\n,a\nq2,b\n', "utf-8")
    rows, bad = read_rows(file)
    assert [(r.line, r.prompt, r.response) for r in rows] == [(2, "q", "two\nlines"), (5, "q2", "b")]
    assert [b.line for b in bad] == [4]


@pytest.mark.parametrize(
    "name, text, message", [("a.txt", "x", "needs a .jsonl or .csv"), ("b.jsonl", "\n", "is empty")]
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        read_rows(tmp_path / "none.csv")


def test_a_process_reward_scores_a_file_too_step_by_step(tmp_path, base, capsys):
    run = reward_runs.step_weights(tmp_path / "run", base)
    (run / "config.json").write_text(json.dumps({"number": 1, "method": "prm", "model": str(base)}))
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "q", "response": "Yes. No."}\n{"prompt": "q", "response": "' + "x" * 400 + '"}\n')
    assert main.main(["score", "--reward-model", str(run), str(file)]) == 1
    out, err = capsys.readouterr()
    row = json.loads(out)
    rewards = scoring.load(models.load(str(base)), run)
    assert isinstance(rewards, ProcessRewardModel)
    assert row["score"] == round(rewards.score(["q"], ["Yes. No."])[0], 4)
    assert [step["text"] for step in row["steps"]] == ["Yes.", " No."]
    assert all(s["wrong"] + s["neutral"] + s["right"] == pytest.approx(1, abs=2e-4) for s in row["steps"])
    assert "line 2: 404 tokens" in err


def test_the_command_scores_a_file_and_names_bad_lines(tmp_path, folder, capsys, rewards):
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "q", "response": "a"}\nnonsense\n')
    assert main.main(["score", "--reward-model", str(folder), str(file)]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["score"] == round(rewards.score(["q"], ["a"])[0], 4)
    assert "line 2: not valid JSON" in err
    assert main.main(["score", "--reward-model", str(tmp_path), str(file)]) == 1
    assert "holds no reward model" in capsys.readouterr().err
