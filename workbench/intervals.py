"""Intervals for rates and means, so that no number is shown alone. Used by training and measuring alike, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

Z95 = 1.959963984540054


def wilson(k: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate of `k` in `n` (Wilson 1927); ties may make `k` a half. (0, 1) for n = 0.

    Raises ValueError when `k` is not between 0 and `n`.
    """
    if n < 0 or not 0 <= k <= n:
        raise ValueError(f"a rate needs 0 <= k <= n, got k = {k}, n = {n}")
    if n == 0:
        return 0.0, 1.0
    p, z2 = k / n, Z95 * Z95
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def clustered(hits: Sequence[float], counts: Sequence[float]) -> tuple[float, float, float, float]:
    """(share, low, high, n) of hits in groups whose members are alike, such as the steps of answers to one prompt.

    Wilson's 95 % interval for as many independent examples as the spread between groups amounts to (Korn & Graubard
    1998), never more than there are; where all or none hit there is no spread, and a group counts as one example.
    Raises ValueError without any.
    """
    n, m = sum(counts), len(counts)
    if n == 0:
        raise ValueError("a share needs at least one example")
    p = sum(hits) / n
    spread = sum((h - p * c) ** 2 for h, c in zip(hits, counts, strict=True)) / n**2
    if m == 1 or p in (0.0, 1.0):
        effective_n = float(m)
    else:
        effective_n = min(float(n), p * (1 - p) / (spread * m / (m - 1))) if spread else float(n)
    low, high = wilson(p * effective_n, effective_n)
    return p, low, high, n


UNIT = (0.0, 1.0)  # what a score from 0 to 1 can be at all
GAP = (-1.0, 1.0)  # what the difference of two such scores can be


def student(n: int) -> float:
    """Student's two-sided 95 % quantile for the mean of `n` values, n at least 2: 12.71 for 2, 2.26 for 10, 1.97 for 300."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 0.975))


def mean_ci(values: Sequence[float], within: tuple[float, float] = (-inf, inf)) -> tuple[float, float, float]:
    """Mean with its 95 % interval by Student's t (Student 1908), in the values' unit, cut to what values can be at all.

    One value alone has no spread to judge by: its interval is all of `within`. Equal values have none either, which
    proves little about those not seen: at most 1 - .025^(1/n) of them differ (Clopper & Pearson 1934), each by as much
    as `within` allows. Raises ValueError without values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean needs at least one value")
    mean = sum(values) / n
    if n == 1:
        return mean, *within
    if min(values) == max(values):
        mean, unseen = values[0], 1 - 0.025 ** (1 / n)
        return mean, mean - unseen * (mean - within[0]), mean + unseen * (within[1] - mean)
    half = student(n) * sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    return mean, max(within[0], mean - half), min(within[1], mean + half)


def ratio_ci(sums: Sequence[float], counts: Sequence[float]) -> tuple[float, float, float]:
    """sum(sums) / sum(counts) with its 95 % interval over examples (Cochran 1977, 6.4): a loss per token, say."""
    ratio = sum(sums) / sum(counts)
    n = len(sums)
    if n == 1:
        return ratio, -inf, inf
    mean = sum(counts) / n
    spread = sum((s - ratio * c) ** 2 for s, c in zip(sums, counts, strict=True)) / (n - 1)
    half = student(n) * sqrt(spread / n) / mean
    return ratio, ratio - half, ratio + half
