"""The curves' texts, as the page shows them."""

from math import log

import pytest

from workbench.learn.catalogue import METHODS

CURVES = {m.name: m.curves for m in METHODS.values()}


def test_every_method_has_its_curves():
    assert all(CURVES.values())


@pytest.mark.parametrize("curve", [c for curves in CURVES.values() for c in curves], ids=lambda c: c.name)
def test_a_curve_is_explained_in_at_most_twenty_words(curve):
    assert 5 <= len(curve.sentence.split()) <= 20
    assert curve.title and curve.unit and curve.series


def test_names_and_keys_of_a_method_are_distinct():
    for curves in CURVES.values():
        names = [c.name for c in curves]
        keys = [s.key for c in curves for s in c.series]
        assert len(set(names)) == len(names) and len(set(keys)) == len(keys)


def test_a_coin_toss_is_the_loss_of_even_odds():
    loss = next(c for c in CURVES["dpo"] if c.name == "loss")
    assert loss.lines[0].value == pytest.approx(log(2), abs=1e-4)
