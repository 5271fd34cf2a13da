from math import inf, isnan, sqrt

import numpy as np
import pytest

from workbench.measure.winrate import Mean, mean, paired_difference, rate, share, wilson, win_rate


def test_wilson_by_hand():
    # z = 1.96, z^2 = 3.8415. 8 of 10: middle (.8 + .19207) / 1.38415 = .71674,
    # half 1.96 / 1.38415 * sqrt(.016 + .0096037) = .22658
    assert wilson(8, 10) == pytest.approx((0.71674 - 0.22658, 0.71674 + 0.22658), abs=2e-5)
    # none of 10: from 0 to z^2 / (n + z^2)
    assert wilson(0, 10) == pytest.approx((0, 3.841459 / 13.841459), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((10 / 13.841459, 1), abs=1e-6)


def test_ties_count_half():
    result = rate(wins=5, ties=4, losses=1)
    assert (result.value, result.n) == (0.7, 10)
    assert (result.low, result.high) == wilson(7, 10)
    assert rate(0, 6, 0).value == 0.5


def test_nothing_counted_says_nothing():
    empty = rate(0, 0, 0)
    assert (empty.value, empty.low, empty.high, empty.n) == (0.5, 0, 1, 0)
    assert isnan(mean([]).value)
    assert (mean([]).low, mean([]).high, mean([]).n) == (-inf, inf, 0)


def test_turned_round_it_is_the_mirror_image():
    there, back = rate(31, 7, 12), rate(12, 7, 31)
    assert (there.value, there.low, there.high) == pytest.approx((1 - back.value, 1 - back.high, 1 - back.low))


@pytest.mark.parametrize("ties", [0, 0.3, 0.6])
def test_the_interval_covers_95_percent_whatever_the_ties(ties):
    """4,000 experiments of 60 votes with a true rate of .65; three standard errors of the coverage are .01."""
    wins = 0.65 - ties / 2
    votes = np.random.default_rng(0).multinomial(60, [wins, ties, 1 - wins - ties], size=4000)
    covered = sum(r.low <= 0.65 <= r.high for r in (rate(*map(int, v)) for v in votes)) / 4000
    assert covered >= 0.94


def test_mean_by_hand():
    # 1..5: mean 3, sample variance 2.5, half the interval 1.959964 * sqrt(2.5 / 5)
    result = mean([1, 2, 3, 4, 5])
    assert (result.value, result.n) == (3, 5)
    assert (result.low, result.high) == pytest.approx((3 - 1.385904, 3 + 1.385904), abs=1e-6)
    assert mean([0.5]) == Mean(0.5, -inf, inf, 1)
    with pytest.raises(ValueError, match="finite"):
        mean([1, float("nan")])


def test_win_rate_is_paired_with_equal_scores_as_ties():
    result = win_rate([0.5, 0.5, 0.5, 1.0], [0.9, 0.5, 0.1, 1.0])
    assert (result.wins, result.ties, result.losses, result.value) == (1, 2, 1, 0.5)
    assert win_rate([0.1 + 0.2], [0.3]).ties == 1  # equal but for rounding


def test_paired_difference_by_hand():
    # two pairs with differences 0 and 1: a bootstrap mean is 0, .5 or 1 with chances 1/4, 1/2, 1/4
    result = paired_difference([1, 1], [1, 2], seed=3)
    assert (result.value, result.low, result.high, result.n, result.seed) == (0.5, 0, 1, 2, 3)
    assert not result.clear and result.words() == "+0.50 (0.00 to 1.00, n 2), within chance"
    same = paired_difference([1, 2, 3], [3, 4, 5])
    assert (same.value, same.low, same.high) == (2, 2, 2)
    assert same.clear and paired_difference([3, 4], [1, 2]).words(1) == "−2.0 (−2.0 to −2.0, n 2), clear"


def test_pairing_cancels_what_makes_a_prompt_hard():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 10, 200)
    result = paired_difference(hard, hard + 0.1 + rng.normal(0, 0.1, 200))
    assert result.clear
    assert result.high - result.low == pytest.approx(2 * 1.96 * 0.1 / sqrt(200), rel=0.15)


def test_the_bootstrap_is_repeatable():
    a, b = np.random.default_rng(2).random((2, 50))
    assert paired_difference(a, b, seed=1) == paired_difference(a, b, seed=1)
    assert paired_difference(a, b, seed=1) != paired_difference(a, b, seed=2)


def test_wrong_counts_and_lengths_are_named():
    with pytest.raises(ValueError, match="negative"):
        rate(-1, 0, 0)
    with pytest.raises(ValueError, match="one length, got 1 and 2"):
        win_rate([1], [1, 2])
    with pytest.raises(ValueError, match="at least one pair"):
        paired_difference([], [])
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_share_is_a_rate_without_ties():
    assert share(3, 4) == rate(3, 0, 1)
