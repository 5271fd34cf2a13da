"""Rejection sampling: the chosen answers are the reward's best, only on training prompts, and labelled as nobody's."""

import pytest

from tests import tiny_model
from workbench import models
from workbench.collect.rejection import collect
from workbench.records import Sampling, split_of


@pytest.fixture
def model(tmp_path):
    return models.load(str(tiny_model.base(tmp_path / "base")))


def length(prompts, answers):
    return [float(len(a)) for a in answers]


def test_the_best_of_n_become_demonstrations_of_training_prompts(store, model):
    prompts = [f"What is {i}?" for i in range(20)]
    assert {split_of(p) for p in prompts} == {"train", "heldout"}
    seen = {}

    def watched(asked, answers):
        for p, a in zip(asked, answers, strict=True):
            seen.setdefault(p, []).append(a)
        return length(asked, answers)

    made = collect(store, model, watched, prompts, n=4, sampling=Sampling(max_new_tokens=10))
    assert {d.prompt for d in made} == {p for p in prompts if split_of(p) == "train"} == set(seen)
    for d in made:
        assert len(seen[d.prompt]) == 4 and len(d.text) == max(map(len, seen[d.prompt]))
        assert d.simulated and d.rater == "best of 4 by the reward"
    assert len(store.demonstrations()) == len(made)


def test_keep_takes_those_where_choosing_mattered_most(store, model):
    prompts = [p for p in (f"What is {i}?" for i in range(20)) if split_of(p) == "train"]

    def only_some(asked, answers):
        return [float(len(a)) if p in prompts[:3] else 1.0 for p, a in zip(asked, answers, strict=True)]

    made = collect(store, model, only_some, prompts, n=4, keep=3 / len(prompts), sampling=Sampling(max_new_tokens=10))
    assert {d.prompt for d in made} == set(prompts[:3])


def test_wrong_settings_are_named(store, model):
    with pytest.raises(ValueError, match="keep must be"):
        collect(store, model, length, ["a"], keep=0)
    with pytest.raises(ValueError, match="n must be at least 2"):
        collect(store, model, length, ["a"], n=1)
    held_out = next(p for p in map(str, range(100)) if split_of(p) == "heldout")
    assert collect(store, model, length, [held_out]) == []
