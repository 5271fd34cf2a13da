from dataclasses import dataclass
from math import sqrt

import pytest

from tests import tiny_model
from workbench import models
from workbench.measure.best_of_n import best_of_n
from workbench.measure.evaluate import Answer, evaluate, golds, summarise, win_rate
from workbench.measure.winrate import mean
from workbench.models.generate import generate
from workbench.records import Sampling

PROMPTS = ["hello", "who are you?", "x", "why?"]
WARM = Sampling(temperature=0.8, max_new_tokens=8, seed=3)


@dataclass
class Gold:
    total: float
    parts: dict
    style: str


def by_length(prompt, text):
    """Shorter is better; a prompt with a question mark has a part of its own."""
    total = 1 / (1 + len(text))
    return Gold(
        total, {"short": total, "asks": 1.0 if prompt.endswith("?") else None}, "even" if len(text) % 2 == 0 else "odd"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    base = tiny_model.base(folder / "base")
    loaded = models.load(str(base), device="cpu")
    loaded.attach(tiny_model.adapter(base, folder / "one"))
    return loaded


def answer(gold, style="helpful", prompt="p", tokens=10, ended=True, **parts):
    return Answer(prompt, "text", tokens, ended, gold, parts, style)


def test_figures_by_hand():
    result = summarise(
        [
            answer(1.0, correct=1.0, refuses=None),
            answer(0.5, "rude", correct=0.0, refuses=None, tokens=20),
            answer(0.6, "rude", correct=None, refuses=1.0, tokens=30, ended=False),
            answer(0.3, "wrong", correct=0.0, refuses=None, tokens=40),
        ]
    )
    # gold: mean .6; squared distances .16 + .01 + 0 + .09 = .26
    half = 3.182446 * sqrt(0.26 / 3 / 4)  # Student's t for 3 degrees of freedom, cut at 1
    assert (result.gold, result.low, result.high, result.n) == pytest.approx((0.6, 0.6 - half, 1.0, 4), abs=1e-6)
    assert (result.parts["correct"].value, result.parts["correct"].n) == (pytest.approx(1 / 3), 3)
    assert (result.parts["refuses"].value, result.parts["refuses"].n) == (1.0, 1)
    assert [(s, r.value, r.n) for s, r in result.shares.items()] == [
        ("rude", 0.5, 4),
        ("helpful", 0.25, 4),
        ("wrong", 0.25, 4),
    ]
    assert (result.length.value, result.ended.value) == (25, 0.75)
    assert "answers" not in result.figures()


def test_a_part_that_applies_to_no_answer_is_left_out():
    assert set(summarise([answer(1, correct=1.0, refuses=None)]).parts) == {"correct"}


def test_win_rate_by_hand():
    a = summarise([answer(g, prompt=str(i)) for i, g in enumerate([0.2, 0.5, 0.9, 0.4])])
    b = summarise([answer(g, prompt=str(i)) for i, g in enumerate([0.3, 0.5, 0.1, 0.6])])
    result = win_rate(a, b)
    assert (result.wins, result.ties, result.losses, result.value) == (2, 1, 1, 0.625)
    with pytest.raises(ValueError, match="same prompts in the same order"):
        win_rate(a, summarise(list(reversed(b.answers))))


def test_evaluate_scores_what_the_model_says(model):
    result = evaluate(model, PROMPTS, WARM, "one", score=by_length)
    answers = generate(model, PROMPTS, WARM, ["one"] * 4)
    assert [a.text for a in result.answers] == [g.text for g in answers]
    assert [a.tokens for a in result.answers] == [len(g.tokens) for g in answers]
    assert result.gold == pytest.approx(sum(1 / (1 + len(g.text)) for g in answers) / 4)
    assert result.parts["asks"].n == 2
    assert (
        win_rate(
            evaluate(model, PROMPTS, WARM, score=by_length), evaluate(model, PROMPTS, WARM, "one", 0, by_length)
        ).ties
        == 4
    )


def test_what_cannot_be_evaluated_says_why(model):
    with pytest.raises(ValueError, match="at least one prompt"):
        evaluate(model, [], WARM, score=by_length)
    with pytest.raises(ValueError, match="not of the sandbox's world: 'x'"):
        evaluate(model, ["x"], WARM, score=lambda prompt, text: None)


def test_the_bundled_model_by_its_gold():
    from workbench.sandbox import gold, world

    bundled = models.load("sandbox", device="cpu")
    prompts = [p.text for p in world.sample(40, split="heldout", seed=2)]
    result = evaluate(bundled, prompts, Sampling(seed=1))
    assert 0 <= result.low < result.gold < result.high <= 1.1
    assert sum(r.value for r in result.shares.values()) == pytest.approx(1)
    assert set(result.shares) <= set(gold.STYLES)
    best = best_of_n(bundled, prompts[:10], golds, 4, Sampling(seed=1))
    assert mean([b.reward for b in best]).value > evaluate(bundled, prompts[:10], Sampling(seed=1)).gold
