"""The plan of a run: worked out once, the same for the page, the command line and the run folder."""

from __future__ import annotations

import dataclasses

import pytest

from tests import reward_runs
from workbench.jobs.plan import available, plan_run
from workbench.jobs.prepare import prepare_run
from workbench.learn.catalogue import METHODS, parse
from workbench.learn.data import MissingData
from workbench.learn.rewards.verdict import Distrusted
from workbench.records import Response
from workbench.ui import train
from workbench.ui.context import Context


@pytest.fixture
def filled(store):
    """The store with 12 demonstrations and 12 ranked pairs."""
    for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(12)], "person"):
        store.add_demonstration(prompt.id, "An answer.", "me")
        rank(store, prompt, "no!")
    return store


def rank(store, prompt, worse: str):
    good, bad = store.add_responses([Response(0, prompt.id, text, "sandbox") for text in ("Yes.", worse)])
    return store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "reward", "ppo"])
def test_the_run_folder_holds_what_the_plan_said(filled, settings, method):
    reward_runs.folder(settings.workspace, 1, "red")
    args = parse(method, {"seed": 3}, "quick")
    plan = plan_run(settings, filled, method, args, allow_failed_gate=True)
    config = prepare_run(settings, filled, method, args, allow_failed_gate=True).config
    assert plan.problems == () and config.args == dataclasses.asdict(plan.args) and config.reasons == plan.reasons
    assert config.data.model_copy(update={"hash": ""}) == plan.data.model_copy(update={"hash": ""})
    assert tuple(config.despite) == plan.despite and bool(plan.despite) == (method == "ppo")


def test_everything_that_stands_in_the_way_is_there_at_once(store, settings, monkeypatch):
    monkeypatch.setattr("workbench.jobs.estimate.available_mb", lambda: 100.0)
    reward_runs.folder(settings.workspace, 1, "red")
    other = dataclasses.replace(settings, model="nobody/nothing")
    kinds = [MissingData, FileNotFoundError, ValueError, MemoryError]
    assert [type(p) for p in plan_run(other, store, "sft", parse("sft", {}), start_from=7).problems] == kinds
    ppo = plan_run(settings, store, "ppo", parse("ppo", {}))
    assert [type(p) for p in ppo.problems] == [Distrusted, MemoryError] and ppo.reward.text == "run:1"
    with pytest.raises(Distrusted):
        prepare_run(settings, store, "ppo", parse("ppo", {}))


def test_the_data_is_counted_once_until_it_changes(filled, settings, monkeypatch):
    reads = []
    for name, method in METHODS.items():
        counting = lambda store, model, name=name, read=method.read: reads.append(name) or read(store, model)  # noqa: E731
        monkeypatch.setitem(METHODS, name, dataclasses.replace(method, read=counting))
    context = Context(settings, filled)
    asked = {"method": "dpo", "preset": "normal", "start_from": None}
    first = train.plan(context, asked | {"settings": {"steps": "5"}})
    assert sorted(reads) == sorted(METHODS)
    again = train.plan(context, asked | {"settings": {"steps": "50"}})
    assert len(reads) == len(METHODS) and again["lines"] == first["lines"]
    rank(filled, filled.prompts()[0], "never")
    assert train.plan(context, asked | {"settings": {}})["data"] == "9 pairs for training, 4 held out"


def test_every_change_that_counts_is_seen(filled, settings):
    """Adding, editing, hiding and restoring; also where the number of rows stays what it was."""
    states, prompt = [filled.state()], filled.prompts()[0]
    comparison, another, demonstration = *filled.comparisons()[:2], filled.demonstrations()[0]
    acts = [
        lambda: filled.edit_demonstration(demonstration.id, "Another.", demonstration.version),
        lambda: filled.delete_demonstration(demonstration.id),
        lambda: filled.restore_demonstration(demonstration.id),
        lambda: filled.delete_comparison(comparison.id),
        lambda: (filled.restore_comparison(comparison.id), filled.delete_comparison(another.id)),
        lambda: rank(filled, prompt, "hm"),
        lambda: filled.add_prompts(["Why?"], "person"),
        lambda: filled.add_step_labels(prompt.id, ["One."], [1], "me"),
    ]
    for act in acts:
        act()
        assert filled.state() != states[-1]
        states.append(filled.state())
    filled.save_draft("me", prompt.id, "a draft")
    assert filled.state() == states[-1]


def test_a_shortage_is_told_with_its_counts(store):
    (prompt,) = store.add_prompts(["What is 1 plus 1?"], "person")
    assert prompt.split == "train"
    good, bad = store.add_responses([Response(0, prompt.id, text, "sandbox") for text in ("Yes.", "no!")])
    store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me", acceptable=2)
    counts, missing = available(store, "kto", "sandbox")
    assert (
        counts.train == 2
        and str(missing) == "KTO needs both good and bad answers to train on; none is bad. Judge some as bad."
    )
