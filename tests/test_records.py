"""The nouns, and the one split."""

import pytest

from workbench.records import Comparison, Prompt, Response, how_many, split_of


def ranking(*groups: tuple[int, ...]) -> Comparison:
    ids = sorted(id for group in groups for id in group)
    responses = tuple(Response(id, 1, f"answer {id}", "m") for id in ids)
    return Comparison(9, 1, "q", responses, groups, tuple(ids), None, "me")


def test_split_is_fixed_for_ever():
    """Worked out once with hashlib: a change here would put held-out prompts into training."""
    # As a fraction of 2**64: 0.163, 0.249 and 0.022; held out below .15.
    assert split_of("What is the capital of France?") == "train"
    assert split_of("question 0") == "train"
    assert split_of("question 7") == "heldout"


def test_split_ignores_case_and_spacing():
    assert {split_of(text) for text in ("What  is\tthat?", "what is that?", " WHAT IS\nTHAT? ")} == {
        split_of("what is that?")
    }


def test_split_holds_out_fifteen_percent():
    held_out = sum(split_of(f"prompt number {n}") == "heldout" for n in range(20_000))
    assert abs(held_out / 20_000 - 0.15) < 0.0076  # three standard errors of a proportion .15 at n = 20,000


def test_split_takes_any_text():
    assert split_of("") in ("train", "heldout")
    assert split_of("\ud800") in ("train", "heldout")
    assert Prompt(1, "  Hello ").split == split_of("hello")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (((2,), (1,)), [(2, 1)]),
        (((1, 2),), []),
        (((3,), (1, 2)), [(3, 1), (3, 2)]),
        (((3,), (1,), (2,)), [(3, 1), (3, 2), (1, 2)]),
        (((1, 2), (3, 4)), [(1, 3), (1, 4), (2, 3), (2, 4)]),
    ],
)
def test_pairs_of_a_ranking(groups, expected):
    assert [(better.id, worse.id) for better, worse in ranking(*groups).pairs()] == expected


@pytest.mark.parametrize(
    ("n", "nouns", "expected"),
    [
        (0, "pairs", "0 pairs"),
        (1, "pairs", "1 pair"),
        (2021, "prompts", "2,021 prompts"),
        (1, "labelled answers", "1 labelled answer"),
        (1, "answers with labelled steps", "1 answer with labelled steps"),
    ],
)
def test_a_count_and_its_noun_agree(n, nouns, expected):
    assert how_many(n, nouns) == expected
