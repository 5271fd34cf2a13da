"""How good a model's answers are, by the sandbox's gold score: overall, in parts, in styles. All figures have n.

Importing this module imports torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from workbench.intervals import UNIT
from workbench.measure.winrate import Mean, Rate, mean, share
from workbench.measure.winrate import win_rate as paired_win_rate
from workbench.models import Model
from workbench.models.generate import generate
from workbench.records import Sampling


class Gold(Protocol):
    """What a scorer says about an answer; `workbench.sandbox.gold.Gold` is one."""

    @property
    def total(self) -> float: ...
    @property
    def parts(self) -> dict[str, float | None]: ...
    @property
    def style(self) -> str: ...


Score = Callable[[str, str], Gold | None]


@dataclass(frozen=True)
class Answer:
    """One scored answer. `parts` holds None where a part does not apply; `tokens` counts the end token."""

    prompt: str
    text: str
    tokens: int
    ended: bool
    gold: float
    parts: dict[str, float | None]
    style: str


@dataclass(frozen=True)
class Evaluation:
    """One model on a set of prompts: one answer per prompt, in the prompts' order.

    `gold` with `low` and `high` is the mean of the answers' totals with its 95 % interval. A part's mean is over the
    answers it applies to. `shares` are the styles', most frequent first. `length` is in tokens.
    """

    gold: float
    low: float
    high: float
    n: int
    parts: dict[str, Mean]
    shares: dict[str, Rate]
    length: Mean
    ended: Rate
    answers: tuple[Answer, ...]

    def figures(self) -> dict[str, Any]:
        """Everything but the answers, as plain data for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "answers"}


def evaluate(
    model: Model,
    prompts: Sequence[str],
    sampling: Sampling,
    adapter: str | None = None,
    strength: float = 1.0,
    score: Score | None = None,
    should_stop: Callable[[], bool] | None = None,
    background: bool = False,
) -> Evaluation:
    """Let one model answer every prompt once, and score the answers (by the sandbox's gold unless told otherwise).

    Two evaluations with the same prompts and seed are paired: answer i of both belongs to prompt i and was drawn with
    the same random numbers. Raises ValueError for no prompts and for a prompt that the scorer does not know.
    """
    score = score or sandbox_gold()
    rows = generate(
        model, prompts, sampling, [adapter] * len(prompts), strength, should_stop=should_stop, background=background
    )
    return summarise(
        [score_answer(p, r.text, len(r.tokens), r.ended, score) for p, r in zip(prompts, rows, strict=True)],
    )


def golds(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The sandbox's gold of each answer, as a reward to choose by. Raises ValueError for a prompt not of its world."""
    score = sandbox_gold()
    return [score_answer(p, text, 0, True, score).gold for p, text in zip(prompts, answers, strict=True)]


def win_rate(base: Evaluation, other: Evaluation) -> Rate:
    """How often `other` scores above `base` on the same prompt; equal gold counts half.

    Raises ValueError when the two did not answer the same prompts in the same order.
    """
    if [a.prompt for a in base.answers] != [a.prompt for a in other.answers]:
        raise ValueError("a win rate is paired: both evaluations need the same prompts in the same order")
    return paired_win_rate([a.gold for a in base.answers], [a.gold for a in other.answers])


def score_answer(prompt: str, text: str, tokens: int, ended: bool, score: Score) -> Answer:
    """An answer with its score. Raises ValueError for a prompt that the scorer does not know."""
    gold = score(prompt, text)
    if gold is None:
        raise ValueError(f"no gold score for this prompt, it is not of the sandbox's world: {prompt!r}")
    return Answer(prompt, text, tokens, ended, gold.total, dict(gold.parts), gold.style)


def summarise(answers: Sequence[Answer]) -> Evaluation:
    """The figures of a set of scored answers. Raises ValueError without any."""
    if not answers:
        raise ValueError("an evaluation needs at least one prompt")
    n = len(answers)
    total = mean([a.gold for a in answers], UNIT)
    names = dict.fromkeys(name for a in answers for name in a.parts)
    parts = {name: mean([v for a in answers if (v := a.parts.get(name)) is not None], UNIT) for name in names}
    styles = Counter(a.style for a in answers).most_common()
    return Evaluation(
        gold=total.value,
        low=total.low,
        high=total.high,
        n=n,
        parts={name: part for name, part in parts.items() if part.n},
        shares={style: share(k, n) for style, k in styles},
        length=mean([a.tokens for a in answers]),
        ended=share(sum(a.ended for a in answers), n),
        answers=tuple(answers),
    )


def sandbox_gold() -> Score:
    """The sandbox's gold scorer: None for prompts that are not of its world."""
    from workbench.sandbox.gold import score

    return score
