"""Rates, means and differences, each with its 95 % interval and n. Intervals by hand in tests/test_winrate.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from workbench.intervals import mean_ci, wilson

FEWEST = 6  # pairs: were all of fewer to point one way, chance alone would do that in more than 1 of 20 tries


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval, in the values' own unit. Without values `value` is nan and the interval infinite."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Rate:
    """A share between 0 and 1 with its 95 % interval, and what it was counted from."""

    value: float
    low: float
    high: float
    n: int
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Difference:
    """The mean of b - a over `n` pairs with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out "no difference", on at least FEWEST pairs."""
        return self.n >= FEWEST and (self.low > 0 or self.high < 0)

    def summary(self, digits: int = 2) -> str:
        """ "+0.03 (0.01 to 0.05, n 300), clear" """
        value, low, high = (
            f"{each:{sign}.{digits}f}" for each, sign in ((self.value, "+"), (self.low, ""), (self.high, ""))
        )
        if self.low == -inf or self.high == inf:
            return f"{value} (n {self.n}), too few to tell".replace("-", "−")
        verdict = "clear" if self.clear else "within chance"
        return f"{value} ({low} to {high}, n {self.n}), {verdict}".replace("-", "−")


def rate(wins: int, ties: int, losses: int) -> Rate:
    """Wins and half of the ties among all, with Wilson's interval; (0, 1) around .5 when nothing was counted.

    Half wins vary less than a coin with the same mean, so Wilson's interval is a little too wide when there are ties,
    never too narrow. Raises ValueError for negative counts.
    """
    if min(wins, ties, losses) < 0:
        raise ValueError(f"counts cannot be negative: {wins} wins, {ties} ties, {losses} losses")
    n = wins + ties + losses
    k = wins + ties / 2
    low, high = wilson(k, n)
    return Rate(k / n if n else 0.5, low, high, n, wins, ties, losses)


def share(k: int, n: int) -> Rate:
    """k of n, without ties."""
    return rate(k, 0, n - k)


def mean(values: Sequence[float], within: tuple[float, float] = (-inf, inf)) -> Mean:
    """The mean of values as a Mean, its interval `within` what values can be at all. Raises ValueError for values that are not finite."""
    if not values:
        return Mean(float("nan"), float("-inf"), float("inf"), 0)
    if not np.isfinite(values).all():
        raise ValueError("a mean needs finite values")
    return Mean(*mean_ci(values, within), len(values))


def win_rate(a: Sequence[float], b: Sequence[float], tie: float = 1e-9) -> Rate:
    """How often b scores above a on the same prompt; scores within `tie` of each other are ties."""
    _same_length(a, b)
    gaps = [y - x for x, y in zip(a, b, strict=True)]
    wins, losses = sum(g > tie for g in gaps), sum(g < -tie for g in gaps)
    return rate(wins, len(gaps) - wins - losses, losses)


def paired_difference(a: Sequence[float], b: Sequence[float], within: tuple[float, float] = (-inf, inf)) -> Difference:
    """The mean of b - a with its interval by Student's t on the gaps, `within` what a gap can be at all.

    a[i] and b[i] belong to the same prompt: what makes a prompt hard for both cancels out. Raises ValueError for lists
    of different or zero length.
    """
    _same_length(a, b)
    gaps = [float(y) - float(x) for x, y in zip(a, b, strict=True)]
    if not gaps:
        raise ValueError("a paired difference needs at least one pair")
    return Difference(*mean_ci(gaps, within), len(gaps))


def _same_length(a: Sequence[float], b: Sequence[float]) -> None:
    if len(a) != len(b):
        raise ValueError(f"pairs need two lists of one length, got {len(a)} and {len(b)}")
