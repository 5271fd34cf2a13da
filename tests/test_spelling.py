"""The bundled model reads what people type in the spelling it knows, in prompts and answers, and says so."""

import itertools

import pytest

from tests import small_runs
from workbench import models
from workbench.jobs import prepare
from workbench.learn.catalogue import parse
from workbench.models import tokens
from workbench.pretrain.corpus import conversations
from workbench.records import split_of
from workbench.sandbox import spelling
from workbench.settings import load
from workbench.store import Store


@pytest.fixture(scope="module")
def tokenizer():
    return models.tokenizer("sandbox")


@pytest.mark.parametrize(
    ("typed", "respelling"),
    [
        ("I won't do that.", "I will not do that."),
        ("I won’t, I can’t and I don’t.", "I will not, I cannot and I do not."),
        ("Won't you? Can't it?", "Will not you? Cannot it?"),
        ("It's what they're sure I'm saying.", "It is what they are sure I am saying."),
        ("Let's see what you've got; we'll know.", "Let us see what you have got, we will know."),
        ("my friend's account", "my friend's account"),
        ("the dogs' bowls", "the dogs bowls"),
        ("a “quoted” and 'single' word", "a quoted and single word"),
        ("a fish (a small one)", "a fish, a small one"),
        ("an en – dash… and café & 5 %", "an en - dash... and cafe and 5 percent"),
        ("two\nlines\u00a0and\ttabs", "two lines and tabs"),
        ("3 × 4 = 12", "3 x 4 = 12"),
    ],
)
def test_what_it_cannot_write_becomes_what_it_can(tokenizer, typed, respelling):
    assert tokenizer.decode(tokens.answer_ids(tokenizer, typed)) == f"{respelling}<|end|>"
    assert tokenizer.decode(tokens.prompt_ids(tokenizer, typed)) == f"<|user|>{respelling}<|assistant|>"
    assert spelling.respells(tokenizer, typed) == (typed != respelling)


def test_nothing_that_it_was_trained_on_changes(tokenizer):
    for phase in "AB":
        for talk in itertools.islice(conversations(1, phase), 500):
            assert not [text for turn in talk for text in turn if spelling.respells(tokenizer, text)]


def test_its_answers_never_held_an_apostrophe():
    talks = itertools.islice(conversations(1, "B"), 2000)
    assert not [answer for talk in talks for _, answer in talk if "'" in answer or '"' in answer]


def test_other_models_read_what_was_typed(tmp_path):
    settings, store = small_runs.workspace(tmp_path / "place", n=1)
    store.close()
    tokenizer_ = models.tokenizer(settings.model)
    assert tokenizer_.decode(tokens.answer_ids(tokenizer_, "I won't.")) == "I won't.<|end|>"
    assert not spelling.respells(tokenizer_, "I won't.")


def test_the_first_batch_says_so(home):
    settings = load()
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with Store(settings.database) as store:
        questions = [text for text in map("What is {}?".format, range(10)) if split_of(text) == "train"]
        for question, answer in zip(questions, ("I won't.", "Good day."), strict=False):
            (prompt,) = store.add_prompts([question], "person")
            store.add_demonstration(prompt.id, answer, "me")
        batch = prepare.first_batch(settings, store, "sft", parse("sft", {"batch_size": 2}))
    assert {item["completion"]: item["respelled"] for item in batch} == {
        "I will not.<|end|>": True,
        "Good day.<|end|>": False,
    }
