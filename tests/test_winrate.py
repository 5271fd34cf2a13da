from math import inf, isnan, sqrt

import numpy as np
import pytest

from workbench.intervals import GAP, UNIT
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
    # 1..5: mean 3, sample variance 2.5, Student's t for 4 degrees of freedom 2.776445
    result = mean([1, 2, 3, 4, 5])
    assert (result.value, result.n) == (3, 5)
    assert (result.low, result.high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-6)
    assert mean([0.5]) == Mean(0.5, -inf, inf, 1)
    # ten perfect answers: of all answers, up to 1 - .025^(1/10) = .3085 may be worth nothing
    perfect = mean([1.0] * 10, UNIT)
    assert (perfect.value, perfect.low, perfect.high) == pytest.approx((1, 0.6915, 1), abs=1e-4)
    with pytest.raises(ValueError, match="finite"):
        mean([1, float("nan")])


def test_win_rate_is_paired_with_equal_scores_as_ties():
    result = win_rate([0.5, 0.5, 0.5, 1.0], [0.9, 0.5, 0.1, 1.0])
    assert (result.wins, result.ties, result.losses, result.value) == (1, 2, 1, 0.5)
    assert win_rate([0.1 + 0.2], [0.3]).ties == 1  # equal but for rounding


def test_paired_difference_by_hand():
    # gaps 1..6: mean 3.5, sample variance 3.5, Student's t for 5 degrees of freedom 2.570582
    result = paired_difference([0] * 6, [1, 2, 3, 4, 5, 6])
    half = 2.570582 * sqrt(3.5 / 6)
    assert (result.value, result.n) == (3.5, 6)
    assert (result.low, result.high) == pytest.approx((3.5 - half, 3.5 + half), abs=1e-5)
    assert result.clear and result.summary() == "+3.50 (1.54 to 5.46, n 6), clear"
    assert paired_difference([1, 2, 3, 4, 5, 6], [0] * 6).summary(1) == "−3.5 (−5.5 to −1.5, n 6), clear"


def test_a_few_pairs_are_never_clear():
    one = paired_difference([0], [1], GAP)
    assert (one.value, one.low, one.high, one.clear) == (1, -1, 1, False)
    five = paired_difference([0] * 5, [0.9, 0.91, 0.92, 0.93, 0.94])
    assert five.low > 0.8 and not five.clear and "within chance" in five.summary()


def test_equal_gaps_say_how_many_could_still_differ():
    # none of 6 differs: at most 1 - .025^(1/6) = .4593 of all do, each by at most as much as gaps between 0 and 1 can
    same = paired_difference([0] * 6, [1] * 6, GAP)
    assert (same.low, same.high) == pytest.approx((1 - 0.45926 * 2, 1), abs=1e-4)
    assert same.clear
    none = paired_difference([0.5] * 300, [0.5] * 300, GAP)
    assert (none.value, none.low, none.high) == pytest.approx((0, -0.01222, 0.01222), abs=1e-5) and not none.clear
    unbounded = paired_difference([1, 2, 3], [3, 4, 5])
    assert (unbounded.low, unbounded.high) == (-inf, inf)
    assert unbounded.summary() == "+2.00 (n 3), too few to tell"


@pytest.mark.parametrize("n", [2, 3, 5, 6, 10, 30])
@pytest.mark.parametrize("draw", ["normal", "gold"])
def test_no_difference_is_seldom_called_clear(n, draw):
    """4,000 experiments without a difference: at most 5 % are clear, and three standard errors of that are 1 %."""
    rng = np.random.default_rng(n)
    if draw == "normal":
        a, b = rng.normal(size=(2, 4000, n))
    else:  # like gold: mostly right, sometimes far off
        a, b = np.where(rng.random((2, 4000, n)) < 0.7, 1.0, rng.random((2, 4000, n)))
    clear = sum(
        paired_difference(x, y, GAP if draw == "gold" else (-inf, inf)).clear for x, y in zip(a, b, strict=True)
    )
    assert clear / 4000 <= 0.06
    if n < 6:
        assert clear == 0


def test_pairing_cancels_what_makes_a_prompt_hard():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 10, 200)
    result = paired_difference(hard, hard + 0.1 + rng.normal(0, 0.1, 200))
    assert result.clear
    assert result.high - result.low == pytest.approx(2 * 1.96 * 0.1 / sqrt(200), rel=0.15)


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
