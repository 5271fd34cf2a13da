"""Best of n: the baseline that needs no training. What a reward buys by choosing among samples, against a majority vote.

The curves over n come from one pool of samples per prompt: choosing among every subset of n is averaged exactly, so
that a curve is smooth and every n uses all samples. Importing this module imports no torch.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, inf
from typing import TYPE_CHECKING, Any

from workbench.intervals import GAP, UNIT
from workbench.measure.winrate import Difference, Mean, mean, paired_difference
from workbench.records import Sampling

if TYPE_CHECKING:
    from workbench.models import Model

Reward = Callable[[list[str], list[str]], list[float]]


@dataclass(frozen=True)
class Best:
    """The answer chosen for one prompt, with its reward; all n samples with theirs."""

    prompt: str
    text: str
    reward: float
    rewards: tuple[float, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """What choosing among n samples gives: the reward chosen by, and gold where the answers have one. `kl` is the most
    that the chosen answers are away from where they were sampled, in nats."""

    n: int
    reward: Mean
    gold: Mean | None
    kl: float


@dataclass(frozen=True)
class Gain:
    """Best of n against a single sample, on the same prompts: a row for each n, and the paired differences between the
    last and the first."""

    rows: tuple[Row, ...]
    reward: Difference
    gold: Difference | None

    def __str__(self) -> str:
        lines = [f"{'n':>4}  {'reward':24}{'gold':24}KL at most"]
        for row in self.rows:
            gold = _with_interval(row.gold) if row.gold else "–"
            lines.append(f"{row.n:4}  {_with_interval(row.reward):24}{gold:24}{row.kl:.2f} nats")
        for name, difference in (("reward", self.reward), ("gold", self.gold)):
            if difference:
                text = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
                lines.append(
                    f"Best of {self.rows[-1].n} against a single sample: {name} {text}, n {difference.n} prompts"
                )
        return "\n".join(lines)


def _with_interval(value: Mean) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def best_of_n(
    model: Model,
    prompts: Sequence[str],
    reward: Reward,
    n: int,
    sampling: Sampling,
    adapter: str | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Best]:
    """Sample n answers to each prompt and keep the one with the highest reward, the first of equals.

    Its distance from where it samples is at most log n - (n - 1) / n nats (`best_of_n_kl`).
    Raises ValueError for n below 1.
    """
    from workbench.models.generate import generate, sample_seeds

    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    repeated = [p for p in prompts for _ in range(n)]
    seeds = sample_seeds(sampling.seed, n) * len(prompts)
    answers = generate(model, repeated, sampling, [adapter] * len(repeated), should_stop=should_stop, seeds=seeds)
    texts = [row.text for row in answers]
    scores = reward(repeated, texts)
    result = []
    for i, prompt in enumerate(prompts):
        rewards = scores[i * n : (i + 1) * n]
        k = max(range(n), key=lambda j: rewards[j])
        candidates = tuple(texts[i * n : (i + 1) * n])
        result.append(Best(prompt, candidates[k], rewards[k], tuple(rewards), candidates))
    return result


def gain(choices: Sequence[Best], gold: Callable[[list[str], list[str]], list[float]] | None = None) -> Gain:
    """What choosing the best brought over a single sample, from the n samples of each prompt: for 1, 2, 4, ... and n.

    A single sample is worth the mean of all n. `gold(prompts, answers)` scores the answers where there is gold. Raises
    ValueError without prompts.
    """
    if not choices:
        raise ValueError("there are no prompts to measure on")
    most = len(choices[0].rewards)
    ns = [*(2**k for k in range(most.bit_length()) if 2**k < most), most]
    rewards = [(b.rewards, b.rewards) for b in choices]
    by_reward = curve(rewards, ns)
    golds: list[tuple[Sequence[float], Sequence[float]]] = []
    if gold:
        flat = iter(gold([b.prompt for b in choices for _ in b.texts], [text for b in choices for text in b.texts]))
        golds = [(b.rewards, [next(flat) for _ in b.texts]) for b in choices]
    by_gold = curve(golds, ns) if gold else {}
    rows = tuple(Row(n, by_reward[n], by_gold.get(n), best_of_n_kl(n)) for n in ns)
    return Gain(rows, _difference(rewards, most), _difference(golds, most, GAP) if gold else None)


def _difference(
    pools: Sequence[tuple[Sequence[float], Sequence[float]]], n: int, within: tuple[float, float] = (-inf, inf)
) -> Difference:
    one, best = ([expected_best(scores, values, k) for scores, values in pools] for k in (1, n))
    return paired_difference(one, best, within)


def expected_best(scores: Sequence[float], values: Sequence[float], n: int) -> float:
    """Mean value of the highest-scored of n samples, over all subsets of n of the pool; equal scores share.

    The sample of rank r from below (1 the lowest) is the best of C(r - 1, n - 1) of the C(N, n) subsets.
    Raises ValueError unless 1 <= n <= N.
    """
    pool = len(scores)
    if not 1 <= n <= pool or pool != len(values):
        raise ValueError(f"cannot choose {n} of {pool} scores with {len(values)} values")
    order = sorted(range(pool), key=lambda i: scores[i])
    total, start = 0.0, 0
    while start < pool:
        end = start
        while end < pool and scores[order[end]] == scores[order[start]]:
            end += 1
        # the best lies in this group of equals: in all subsets below its end but none below its start
        subsets = comb(end, n) - comb(start, n)
        total += subsets * sum(values[i] for i in order[start:end]) / (end - start)
        start = end
    return total / comb(pool, n)


def expected_majority(
    answers: Sequence[str | None],
    values: Sequence[float],
    n: int,
    draws: int = 200,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> float:
    """Mean value of the most frequent of n answers, over `draws` random subsets (all samples at once for n = N).

    None is no answer and gets no vote; equally frequent ones share. Wang et al. 2023, "self-consistency". With `weights`,
    one per sample and at least 0, every vote counts as much as its weight (Li et al. 2023, "step-aware verifier").
    """
    pool, counts = len(answers), weights or [1.0] * len(answers)
    if not 1 <= n <= pool or pool != len(values) or pool != len(counts):
        raise ValueError(f"cannot choose {n} of {pool} answers with {len(values)} values and {len(counts)} weights")
    value = {a: v for a, v in zip(answers, values, strict=True) if a is not None}
    rng = random.Random(seed)
    subsets = [range(pool)] if n == pool else [rng.sample(range(pool), n) for _ in range(draws)]
    total = 0.0
    for subset in subsets:
        votes: dict[str, float] = defaultdict(float)
        for i in subset:
            if (a := answers[i]) is not None:
                votes[a] += counts[i]
        if votes:
            most = max(votes.values())
            leaders = [a for a, k in votes.items() if k == most]
            total += sum([value[a] for a in leaders]) / len(leaders)
    return total / len(subsets)


def curve(pools: Sequence[tuple[Sequence[float], Sequence[float]]], ns: Sequence[int]) -> dict[int, Mean]:
    """Expected value of the best of n by a score, for each n: mean over prompts with its 95 % interval.

    `pools` holds (scores, values) of the samples of each prompt.
    """
    return {n: mean([expected_best(scores, values, n) for scores, values in pools]) for n in ns}


def on_word_problems(
    model: Model,
    reward: Reward,
    problems: int,
    pool: int = 16,
    seed: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Right answers of the bundled model to held-out word problems, as plain JSON: the best of n by `reward` and by a
    majority vote for each of "ns", and of "one" answer; each figure [share, low, high] over "n" problems. "difference"
    is reward minus majority at the largest n, paired by problem."""
    from workbench.models.generate import generate
    from workbench.sandbox.steps import concluded, is_right
    from workbench.sandbox.world import prompts

    questions = [p.text for p in prompts("heldout", "problem")]
    questions = random.Random(seed).sample(questions, min(problems, len(questions)))
    flat = [p for p in questions for _ in range(pool)]
    answers = generate(model, flat, Sampling(), seeds=list(range(pool)) * len(questions), should_stop=should_stop)
    texts = [row.text for row in answers]
    scores = reward(flat, texts)
    right = [float(is_right(p, t)) for p, t in zip(flat, texts, strict=True)]
    conclusions = [concluded(t) for t in texts]
    parts = [slice(i, i + pool) for i in range(0, len(flat), pool)]
    ns = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= pool]
    by_reward = {n: [expected_best(scores[s], right[s], n) for s in parts] for n in ns}
    by_vote = {n: [expected_majority(conclusions[s], right[s], n) for s in parts] for n in ns}
    gap = paired_difference(by_vote[ns[-1]], by_reward[ns[-1]], GAP)

    return {
        "n": len(questions),
        "ns": ns,
        "reward": [share(by_reward[n]) for n in ns],
        "majority": [share(by_vote[n]) for n in ns],
        "one": share([sum(right[s]) / pool for s in parts]),
        "difference": [round(v, 4) for v in (gap.value, gap.low, gap.high)],
        "clear": bool(gap.clear),
    }


def share(values: Sequence[float]) -> list[float]:
    """[mean, low, high] of values from 0 to 1."""
    average = mean(values, UNIT)
    return [round(v, 4) for v in (average.value, average.low, average.high)]


def best_of_n_kl(n: int) -> float:
    """KL in nats of best-of-n sampling from its base: log n - (n - 1) / n (Stiennon et al. 2020, appendix G.3)."""
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return math.log(n) - (n - 1) / n
