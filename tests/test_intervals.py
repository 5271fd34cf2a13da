"""Intervals by hand: small samples, groups whose members are alike, ratios."""

from math import inf, sqrt

import pytest

from workbench.intervals import clustered, mean_ci, ratio_ci, student, wilson


def test_students_t_by_the_table():
    assert [round(student(n), 3) for n in (2, 3, 6, 11, 31)] == [12.706, 4.303, 2.571, 2.228, 2.042]


def test_ratio_by_hand():
    # sums 2, 6 over counts 2, 2: ratio 2; residuals -2 and 2, spread 8, half = 12.706 * sqrt(8 / 2) / 2 = 12.706
    ratio, low, high = ratio_ci([2.0, 6.0], [2, 2])
    assert ratio == 2.0
    assert (low, high) == (pytest.approx(2 - 12.706, abs=1e-3), pytest.approx(2 + 12.706, abs=1e-3))
    assert ratio_ci([2.0], [1]) == (2.0, -inf, inf)


def test_groups_that_agree_within_count_as_their_number():
    # four groups of ten, two all right and two all wrong: four coins, not forty
    share, low, high, n = clustered([10, 10, 0, 0], [10] * 4)
    assert (share, n) == (0.5, 40)
    # spread of the mean of four shares 1, 1, 0, 0: .25 / 4 * 4 / 3, so 3 coins
    assert (low, high) == pytest.approx(wilson(1.5, 3))
    assert clustered([60], [60])[1:3] == pytest.approx(wilson(1, 1))  # one group tells of one


@pytest.mark.parametrize("values", [[1.0], [1.0] * 5, [0.0] * 5, [0.5] * 300])
def test_no_interval_has_width_zero(values):
    mean, low, high = mean_ci(values, (0, 1))
    assert low < high and low <= mean <= high


def test_the_mean_of_two():
    # 0 and 1: mean .5, half 12.706 * sqrt(.5 / 2), cut to what can be
    assert mean_ci([0, 1]) == pytest.approx((0.5, 0.5 - 12.706 * sqrt(0.25), 0.5 + 12.706 * sqrt(0.25)), abs=1e-3)
    assert mean_ci([0, 1], (0, 1)) == (0.5, 0, 1)
