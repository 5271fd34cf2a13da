"""What a curve of a training run is and means, and the curves that several methods have; a method's own stand in its file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A dashed line to read a curve against."""

    value: float
    label: str


@dataclass(frozen=True)
class Series:
    """One line of a chart: `key` in a row of metrics.jsonl; `low` and `high` are the keys of its interval."""

    key: str
    label: str = ""
    low: str = ""
    high: str = ""


@dataclass(frozen=True)
class Curve:
    """One chart over the steps. Values are as stored; with `percent` the page shows them times 100."""

    name: str
    title: str
    unit: str
    sentence: str
    series: tuple[Series, ...]
    lines: tuple[Line, ...] = ()
    percent: bool = False
    smooth: bool = False
    """Noisy from step to step: draw a smoothed line over the raw one."""
    n: str = ""
    """Key of the number of examples behind a point."""
    sandbox: bool = False
    """Only the sandbox can be scored so."""
    low: float | None = None
    high: float | None = None


GOLD = Curve(
    name="gold",
    title="Gold score on held-out prompts",
    unit="score, 0 to 1",
    sentence="How good its answers really are, on prompts it never trained on. Should rise and stay high.",
    series=(Series("gold", low="gold_low", high="gold_high"),),
    n="gold_n",
    sandbox=True,
    low=0.0,
    high=1.0,
)
KL = Curve(
    name="kl",
    title="KL from the start",
    unit="nats per answer",
    sentence="How far it has moved from where it began; above 10, answers often degrade.",
    series=(Series("kl", low="kl_low", high="kl_high"),),
    lines=(Line(10.0, "caution"),),
    n="kl_n",
    low=0.0,
)

ENTROPY = Curve(
    name="entropy",
    title="Entropy",
    unit="nats per token",
    sentence="How undecided it is between tokens. A slow fall is normal; near zero, it always says the same thing.",
    series=(Series("entropy"),),
    smooth=True,
    low=0.0,
)
LENGTH = Curve(
    name="length",
    title="Answer length",
    unit="tokens",
    sentence="Steady growth often means that the reward favours length, not that answers improve.",
    series=(Series("length"),),
    smooth=True,
    low=0.0,
)
ENDED = Curve(
    name="ended",
    title="Answers that end by themselves",
    unit="% of answers",
    sentence="The others were cut off at the token limit. Should stay near 100 %.",
    series=(Series("ended"),),
    percent=True,
    smooth=True,
    low=0.0,
    high=1.0,
)
PAIR_ACCURACY = Curve(
    name="accuracy",
    title="Accuracy on held-out pairs",
    unit="% of held-out pairs",
    sentence="How often it prefers the answer you chose, on pairs it never trained on.",
    series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
    lines=(Line(0.5, "guessing"),),
    percent=True,
    n="accuracy_n",
    low=0.0,
    high=1.0,
)
