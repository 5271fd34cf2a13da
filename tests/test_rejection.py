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
    samples = {}

    def recorder(batch, answers):
        for p, a in zip(batch, answers, strict=True):
            samples.setdefault(p, []).append(a)
        return length(batch, answers)

    demonstrations = collect(store, model, recorder, prompts, n=4, sampling=Sampling(max_new_tokens=10))
    assert {d.prompt for d in demonstrations} == {p for p in prompts if split_of(p) == "train"} == set(samples)
    for d in demonstrations:
        assert len(samples[d.prompt]) == 4 and len(d.text) == max(map(len, samples[d.prompt]))
        assert d.simulated and d.rater == "best of 4 by the reward"
    assert len(store.demonstrations()) == len(demonstrations)


def test_keep_takes_those_where_choosing_mattered_most(store, model):
    prompts = [p for p in (f"What is {i}?" for i in range(20)) if split_of(p) == "train"]

    def three_lengths(batch, answers):
        return [float(len(a)) if p in prompts[:3] else 1.0 for p, a in zip(batch, answers, strict=True)]

    demonstrations = collect(
        store, model, three_lengths, prompts, n=4, keep=3 / len(prompts), sampling=Sampling(max_new_tokens=10)
    )
    assert {d.prompt for d in demonstrations} == set(prompts[:3])


def test_wrong_settings_are_named(store, model):
    with pytest.raises(ValueError, match="keep must be"):
        collect(store, model, length, ["a"], keep=0)
    with pytest.raises(ValueError, match="n must be at least 2"):
        collect(store, model, length, ["a"], n=1)
    held_out = next(p for p in map(str, range(100)) if split_of(p) == "heldout")
    assert collect(store, model, length, [held_out]) == []
