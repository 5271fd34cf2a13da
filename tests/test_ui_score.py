"""The Score tab's functions, without a browser: which models there are, scores token by token, spoiling, clear refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests import reward_runs, tiny_model
from workbench import models
from workbench.learn.rewards import gate
from workbench.learn.rewards.process_reward_model import ProcessRewardModel
from workbench.ui import score
from workbench.ui.context import Context, Refused


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model.base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def context(settings, store, base):
    """A page with the tiny model, loaded, and run 1, a reward model for it."""
    page = Context(replace(settings, model=str(base)), store)
    reward_runs.weights(reward_runs.folder(settings.workspace, 1, model=str(base)), base)
    page.model()
    return page


def asked(**changes):
    return {"run": 1, "prompt": "How are you?", "answer": "Fine. And you?"} | changes


def test_only_models_of_this_base_are_offered_newest_first(context):
    workspace = context.settings.workspace
    reward_runs.folder(workspace, 2, "red", model=context.settings.model)
    reward_runs.folder(workspace, 3, "green", model="another/base")
    answer = score.choices(context, {})
    assert [m["run"] for m in answer["models"]] == [2, 1]
    assert answer["models"][0]["verdict"]["words"] == "✕ red"


def test_without_a_model_it_says_so_and_which_other_base_there_is_one_for(settings, store):
    context = Context(settings, store)
    assert score.choices(context, {})["empty"].startswith("No reward model yet.")
    reward_runs.folder(settings.workspace, 3, "green", model="another/base")
    answer = score.choices(context, {})
    assert answer["models"] == [] and "Run 3 was made for the model another/base, not for sandbox." in answer["empty"]


def test_the_tokens_are_the_answer_and_the_last_ones_score_is_the_answers(context):
    answer = score.score(context, asked())
    assert "".join(t["text"] for t in answer["tokens"]) == "Fine. And you?"
    assert answer["tokens"][-1]["score"] == answer["score"]
    alone = score.score(context, asked(answer="Fine"))
    assert alone["score"] == pytest.approx(answer["tokens"][3]["score"], abs=2e-3)
    empty = score.score(context, asked(answer=""))
    assert empty["tokens"] == [] and isinstance(empty["score"], float)
    json.dumps(answer, allow_nan=False)


def test_a_process_reward_judges_step_by_step_and_begins_with_a_prompt_it_knows(context, base):
    workspace, path = context.settings.workspace, str(base)
    reward_runs.step_weights(reward_runs.folder(workspace, 2, "amber", path, "prm"), base)
    offer = score.choices(context, {})["models"]
    assert [(m["run"], m["steps"]) for m in offer] == [(2, True), (1, False)]
    assert offer[0]["prompt"] == "What is 2 + 2?" and "process reward model, amber" in offer[0]["label"]
    answer = score.score(context, asked(run=2))
    rewards = ProcessRewardModel(context.model(), workspace / "runs" / "0002-prm")
    (steps,) = rewards.steps(["How are you?"], ["Fine. And you?"])
    assert [t["text"] for t in answer["tokens"]] == ["Fine.", " And you?"]
    worst = min(1 - wrong for _, (wrong, _, _) in steps)
    some = 1 - (1 - steps[0][1][2]) * (1 - steps[1][1][2])
    assert answer["score"] == pytest.approx(worst * some, abs=1e-3)
    for token, (_, (wrong, _, right)) in zip(answer["tokens"], steps, strict=True):
        assert token["score"] == pytest.approx(right - wrong, abs=1e-3)
        assert token["says"].endswith(f"right {100 * right:.0f} %") and token["judged"][2:].split()[0] in token["says"]
    assert score.score(context, asked(run=2, answer=""))["tokens"] == []
    spoiled = score.spoil(context, asked(run=2, way="pad"))
    assert spoiled["before"] == answer["score"] and 0 <= spoiled["after"] <= 1
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize(("button", "way"), score.WAYS.items())
def test_a_press_spoils_as_the_gate_does_and_tells_both_scores(context, button, way):
    answer = score.spoil(context, asked(way=button))
    assert answer["answer"] == gate.spoil("Fine. And you?")[way] != "Fine. And you?"
    assert answer["before"] == score.score(context, asked())["score"]
    assert answer["after"] == pytest.approx(score.score(context, asked(answer=answer["answer"]))["score"], abs=2e-3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"run": 9}, "Run 9 has no reward model"),
        ({"run": None}, "sent nothing as run, but a whole number is needed"),
        ({"run": 3}, "Run 3 was made for the model another/base, not for "),
        ({"run": 4}, "Run 4 has no finished reward model; it is stopped"),
        ({"prompt": " "}, "Write a prompt first"),
        ({"prompt": None}, "sent nothing as prompt, but text is needed"),
        ({"answer": "x" * 300}, "tokens; .* reads 256. Shorten one of them."),
        ({"answer": "x" * 20_001}, "20,001 characters"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(context, changes, text):
    workspace = context.settings.workspace
    reward_runs.folder(workspace, 3, model="another/base")
    (
        reward_runs.folder(workspace, 4, None, model=context.settings.model) / "adapter" / "adapter_model.safetensors"
    ).unlink()
    with pytest.raises(Refused, match=text):
        score.score(context, asked(**changes))


@pytest.mark.parametrize(
    "changes", [{"way": "burn"}, {"way": None}, {"way": "pad", "answer": " "}, {"way": "repeat", "answer": "x" * 90}]
)
def test_what_cannot_be_spoiled_is_refused(context, changes):
    with pytest.raises(Refused):
        score.spoil(context, asked(**changes))


def test_while_the_base_loads_it_says_so_and_a_failure_is_told(context, monkeypatch):
    monkeypatch.setattr(models, "loaded", lambda settings: False)
    begun = []
    monkeypatch.setattr(context, "load_in_background", lambda: begun.append(1))
    context.model_state = "waiting"
    assert score.score(context, asked())["loading"].startswith("Loading the model, ")
    score.score(context, asked())
    assert begun == [1], "it is loaded once"
    context.model_state, context.model_error = "failed", "There is no such model."
    with pytest.raises(Refused, match="There is no such model"):
        score.score(context, asked())
