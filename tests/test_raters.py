"""Simulated raters: known votes by hand, then each dial's measured effect."""

import random

import pytest

from workbench.sandbox import gold, world
from workbench.sandbox.answers import answer
from workbench.sandbox.raters import SimulatedRater

CAPITAL = "What is the capital of France?"
GOOD = "The capital of France is Paris."


def pairs(n: int, styles: tuple[str, str], seed: int = 0) -> list[tuple[str, str, str]]:
    """(prompt, answer in the first style, answer in the second), sides as given."""
    rng = random.Random(seed)
    prompts = [p for p in world.sample(5 * n, seed=seed) if p.kind in ("fact", "sum", "problem", "why")][:n]
    assert len(prompts) == n
    return [(p.text, answer(p, styles[0], rng), answer(p, styles[1], rng)) for p in prompts]


def wins_of_first(rater: SimulatedRater, rows: list[tuple[str, str, str]]) -> float:
    """How often the first answer is preferred, shown on the left and on the right in turn; ties count half."""
    points = 0.0
    for index, (prompt, first, second) in enumerate(rows):
        left = index % 2 == 0
        vote = rater.choose(prompt, first, second) if left else rater.choose(prompt, second, first)
        points += 0.5 if vote in ("tie", "bad") else float((vote == "left") == left)
    return points / len(rows)


@pytest.mark.parametrize(
    ("left", "right", "vote"),
    [
        (GOOD, "The capital of France is Rome.", "left"),
        ("Paris.", GOOD, "right"),
        (GOOD, "Paris is the capital of France.", "tie"),
        ("The capital of France is Oslo.", "The capital of France is Rome.", "bad"),
        ("", "", "bad"),
        ("The capital of France is Paris, you fool.", "Paris.", "right"),
    ],
)
def test_an_honest_rater_follows_gold(left, right, vote):
    assert SimulatedRater().choose(CAPITAL, left, right) == vote


def test_votes_are_the_same_for_the_same_seed_and_differ_for_another():
    rows = pairs(60, ("curt", "flattering"))

    def votes(seed: int) -> list[str]:
        rater = SimulatedRater(noise=0.3, seed=seed)
        return [rater.choose(*row) for row in rows]

    assert votes(3) == votes(3)
    assert votes(3) != votes(4)


def test_noise_turns_some_votes_but_keeps_the_direction():
    rows = pairs(300, ("helpful", "flattering"))
    assert wins_of_first(SimulatedRater(), rows) > 0.99
    assert 0.7 < wins_of_first(SimulatedRater(noise=0.5), rows) < 0.93


def test_length_bias_makes_the_longer_answer_win():
    # Gold: helpful 1.0 against rambling about .3. The longer answer has about five times the words.
    rows = pairs(200, ("rambling", "helpful"))
    honest = wins_of_first(SimulatedRater(), rows)
    biased = wins_of_first(SimulatedRater(length_bias=2.0), rows)
    # Two standard errors of a share of 200 are at most .071.
    assert honest < 0.05
    assert biased > honest + 0.5


def test_length_bias_decides_between_equally_good_answers():
    rater = SimulatedRater(length_bias=0.5)
    assert rater.choose(CAPITAL, GOOD, "Sure. The capital of France is Paris.") == "right"


def test_flattery_bias_makes_the_flatterer_win():
    rows = pairs(200, ("flattering", "helpful"), seed=2)
    assert wins_of_first(SimulatedRater(), rows) < 0.05
    assert wins_of_first(SimulatedRater(flattery_bias=1.0), rows) > 0.95


def test_position_bias_favours_the_left():
    rater, rows = SimulatedRater(position_bias=0.2), pairs(100, ("helpful", "helpful"))
    votes = [rater.choose(*row) for row in rows]
    assert votes.count("left") == 100
    assert [SimulatedRater(position_bias=-0.2).choose(*rows[0])] == ["right"]


def test_a_careless_rater_votes_by_a_coin():
    rows = pairs(400, ("helpful", "wrong"))
    share = wins_of_first(SimulatedRater(carelessness=1.0), rows)
    assert abs(share - 0.5) < 0.1  # four standard errors
    half = wins_of_first(SimulatedRater(carelessness=0.5), rows)
    assert abs(half - 0.75) < 0.09


def test_demonstrations_are_good_answers():
    rater = SimulatedRater(seed=5)
    totals = [gold.score(p.text, rater.demonstrate(p.text)).total for p in world.sample(400, seed=9)]
    assert min(totals) >= 0.85
    assert sum(totals) / len(totals) > 0.98


def test_the_name_says_simulated_and_shows_the_dials():
    assert SimulatedRater().name == "simulated rater"
    assert SimulatedRater(noise=0.1, length_bias=0.5).name == "simulated rater (noise 0.1, length bias 0.5)"


def test_prompts_of_another_world_are_refused():
    with pytest.raises(ValueError, match="knows only the sandbox's prompts"):
        SimulatedRater().choose("Explain quantum field theory.", "a", "b")
    with pytest.raises(ValueError, match="knows only the sandbox's prompts"):
        SimulatedRater().demonstrate("Explain quantum field theory.")


@pytest.mark.parametrize("dial", [{"carelessness": 1.5}, {"noise": -0.1}, {"length_bias": float("nan")}])
def test_impossible_dials_are_refused(dial):
    with pytest.raises(ValueError, match=next(iter(dial))):
        SimulatedRater(**dial)
