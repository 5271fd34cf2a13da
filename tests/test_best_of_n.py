"""Best of n: curves over n worked by hand and by brute force, and the sampling itself."""

from itertools import combinations
from math import inf

import pytest

from tests import tiny_model
from workbench import models
from workbench.intervals import UNIT
from workbench.measure import best_of_n as best
from workbench.measure.best_of_n import Best, best_of_n, curve, expected_best, expected_majority, gain
from workbench.measure.winrate import mean
from workbench.records import Sampling
from workbench.sandbox.steps import is_right


def test_the_best_of_two_of_three_by_hand():
    # subsets of scores 1, 2, 3 with values 0, 1, 0: {1,2} -> 1, {1,3} -> 0, {2,3} -> 0
    assert expected_best([1, 2, 3], [0, 1, 0], 2) == pytest.approx(1 / 3)
    assert expected_best([1, 2, 3], [0, 1, 0], 1) == pytest.approx(1 / 3)
    assert expected_best([1, 2, 3], [0, 1, 0], 3) == 0
    assert expected_best([5, 5], [1, 0], 2) == 0.5


def test_it_is_the_mean_over_all_subsets():
    scores, values = [0.3, 0.9, 0.9, 0.1, 0.5, 0.3], [1.0, 0.0, 1.0, 0.5, 0.25, 0.0]
    for n in range(1, 7):
        chosen = []
        for subset in combinations(range(6), n):
            top = max(scores[i] for i in subset)
            best = [values[i] for i in subset if scores[i] == top]
            chosen.append(sum(best) / len(best))
        assert expected_best(scores, values, n) == pytest.approx(sum(chosen) / len(chosen))


def test_a_perfect_score_finds_a_right_answer_wherever_there_is_one():
    values = [0.0, 1.0, 0.0, 0.0]
    assert expected_best(values, values, 4) == 1
    assert expected_best(values, values, 2) == pytest.approx(0.5)  # 3 of 6 subsets hold it
    assert expected_best([-v for v in values], values, 4) == 0


def test_the_majority_by_hand():
    answers, values = ["7", "7", "8", None], [1.0, 1.0, 0.0, 0.0]
    assert expected_majority(answers, values, 4) == 1
    assert expected_majority(["7", "8"], [1.0, 0.0], 2) == 0.5
    assert expected_majority([None, None], [0.0, 0.0], 2) == 0
    assert expected_majority(answers, values, 1, draws=4000) == pytest.approx(0.5, abs=0.03)


def test_a_vote_by_weight_by_hand():
    answers, values = ["7", "7", "8", None], [0.0, 0.0, 1.0, 0.0]
    assert expected_majority(answers, values, 4, weights=[0.2, 0.3, 0.6, 9.0]) == 1  # .5 against .6; None has no vote
    assert expected_majority(answers, values, 4, weights=[0.2, 0.5, 0.6, 0.0]) == 0
    assert expected_majority(answers, values, 4, weights=[0.25, 0.5, 0.75, 0.0]) == 0.5
    assert expected_majority(answers, values, 4, weights=[1.0] * 4) == expected_majority(answers, values, 4)
    with pytest.raises(ValueError, match="and 2 weights"):
        expected_majority(answers, values, 4, weights=[1.0, 1.0])


def test_a_curve_has_an_interval_over_prompts():
    means = curve([([1, 2], [0, 1]), ([1, 2], [1, 0])], [1, 2])
    assert means[1].value == means[2].value == 0.5
    assert (means[1].low, means[1].high) == (-inf, inf) and means[2].low < 0 < means[
        2
    ].high  # two equal values tell nothing
    assert means[2].n == 2


@pytest.mark.parametrize("n", [0, 4])
def test_n_must_fit_the_pool(n):
    with pytest.raises(ValueError, match=f"cannot choose {n} of 3"):
        expected_best([1, 2, 3], [1, 2, 3], n)
    with pytest.raises(ValueError, match=f"cannot choose {n} of 3"):
        expected_majority(["1", "2", "3"], [1, 2, 3], n)


def test_best_of_n_keeps_the_sample_that_the_reward_likes_most(tmp_path):
    model = models.load(str(tiny_model.base(tmp_path / "base")))
    sampling = Sampling(max_new_tokens=12, seed=3)
    few = best_of_n(model, ["a", "b"], lambda p, r: [float(len(x)) for x in r], 2, sampling)
    many = best_of_n(model, ["a", "b"], lambda p, r: [float(len(x)) for x in r], 6, sampling)
    for some, more in zip(few, many, strict=True):
        assert more.reward == max(more.rewards) == len(more.text) and len(more.rewards) == 6
        assert more.rewards[:2] == some.rewards and more.reward >= some.reward
    assert [b.prompt for b in many] == ["a", "b"] and len(set(many[0].rewards)) > 1
    with pytest.raises(ValueError, match="n must be at least 1"):
        best_of_n(model, ["a"], lambda p, r: [0.0], 0, sampling)


def test_the_gain_over_a_single_sample_by_hand():
    # rewards 1, 2, 3 and 0, 0, 6: one sample is worth 2 and 2, the best of three 3 and 6
    choices = [Best("a", "z", 3, (1, 2, 3), ("x", "y", "z")), Best("b", "z", 6, (0, 0, 6), ("x", "y", "z"))]
    values = {"x": 1.0, "y": 0.0, "z": 0.5}
    table = gain(choices, lambda prompts, answers: [values[a] for a in answers])
    assert [(row.n, row.reward.value) for row in table.rows] == [
        (1, 2.0),
        (2, pytest.approx((8 / 3 + 4) / 2)),
        (3, 4.5),
    ]
    assert table.rows[0].kl == 0 and table.rows[2].kl == pytest.approx(0.43195, abs=1e-4)  # log 3 - 2 / 3
    assert table.reward.value == 2.5 and table.reward.n == 2
    # gaps 1 and 4: Student's t for 1 degree of freedom 12.706, half = 12.706 * sqrt(4.5 / 2)
    assert (table.reward.low, table.reward.high) == pytest.approx((2.5 - 19.059, 2.5 + 19.059), abs=1e-3)
    assert table.gold.value == pytest.approx(0.0)
    text = str(table)
    assert "Best of 3 against a single sample: reward +2.500 (-16.559 to +21.559), n 2 prompts" in text
    assert "gold" not in str(gain(choices)).splitlines()[-1]
    with pytest.raises(ValueError, match="no prompts"):
        gain([])


def test_a_share_that_is_always_met_is_not_certain():
    assert best.share([1.0] * 10) == [1.0, 0.6915, 1.0]  # .025^(1/10)
    assert best.share([0.0] * 4)[2] == 0.6024  # 1 - .025^(1/4)
    average = mean([1.0, 0.0, 1.0, 1.0], UNIT)
    assert best.share([1.0, 0.0, 1.0, 1.0]) == [round(v, 4) for v in (average.value, average.low, average.high)]


@pytest.mark.slow
def test_a_reward_that_knows_the_right_answer_beats_a_vote_on_word_problems():
    model = models.load("sandbox")

    def knows(prompts, answers):
        return [float(is_right(p, a)) for p, a in zip(prompts, answers, strict=True)]

    figures = best.on_word_problems(model, knows, 12, pool=8)
    assert figures["ns"] == [1, 2, 4, 8] and figures["n"] == 12
    assert figures["reward"][0][0] == figures["one"][0] < figures["reward"][-1][0]
    values = [row[0] for row in figures["reward"]]
    assert values == sorted(values) and figures["reward"][1][0] > figures["majority"][1][0]
    assert figures == best.on_word_problems(model, knows, 12, pool=8)
    fooled = best.on_word_problems(model, lambda p, a: [-v for v in knows(p, a)], 12, pool=8)
    assert fooled["reward"][-1][0] < fooled["one"][0] and fooled["difference"][2] < 0 and fooled["clear"]
