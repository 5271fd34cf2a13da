"""What each curve of a training run means: the page draws these, and the sentence beside a curve explains it."""

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
    sentence="How good its answers really are, on prompts it never trained on. Should rise and stay.",
    series=(Series("gold", low="gold_low", high="gold_high"),),
    n="gold_n",
    sandbox=True,
    low=0.0,
    high=1.0,
)
KL = Curve(
    name="kl",
    title="Distance from the start (KL)",
    unit="nats per answer",
    sentence="How far it has moved from where it began; beyond 10, answers often turn odd.",
    series=(Series("kl", low="kl_low", high="kl_high"),),
    lines=(Line(10.0, "take care"),),
    n="kl_n",
    low=0.0,
)

ENTROPY = Curve(
    name="entropy",
    title="Entropy",
    unit="nats per token",
    sentence="How undecided it is between words. A slow fall is normal; near zero it always says the same.",
    series=(Series("entropy"),),
    smooth=True,
    low=0.0,
)
LENGTH = Curve(
    name="length",
    title="Length of answers",
    unit="tokens",
    sentence="Steady growth often means that the reward likes length, not that answers get better.",
    series=(Series("length"),),
    smooth=True,
    low=0.0,
)
ENDED = Curve(
    name="ended",
    title="Answers that end by themselves",
    unit="% of answers",
    sentence="The others were cut at the limit of tokens. Should stay near 100 %.",
    series=(Series("ended"),),
    percent=True,
    smooth=True,
    low=0.0,
    high=1.0,
)
TOLD_APART = Curve(
    name="accuracy",
    title="Held-out pairs told apart",
    unit="% of held-out pairs",
    sentence="How often it prefers the answer you chose, on pairs it never trained on.",
    series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
    lines=(Line(0.5, "guessing"),),
    percent=True,
    n="accuracy_n",
    low=0.0,
    high=1.0,
)
SAMPLED = (
    Curve(
        name="reward",
        title="Reward",
        unit="reward per answer",
        sentence="What the answers earn. Should rise; if gold falls meanwhile, the reward is being fooled.",
        series=(Series("reward"),),
        smooth=True,
    ),
    GOLD,
    KL,
    ENTROPY,
    Curve(
        name="same_reward",
        title="Prompts with nothing to compare",
        unit="% of prompts",
        sentence="All answers to them earned the same, so they teach nothing. Near 100 % it has stopped learning.",
        series=(Series("same_reward"),),
        percent=True,
        smooth=True,
        low=0.0,
        high=1.0,
    ),
    LENGTH,
    ENDED,
    Curve(
        name="seconds",
        title="Time of each phase",
        unit="seconds per round",
        sentence="Where the time goes: writing the answers, scoring them, and the whole round.",
        series=(
            Series("seconds_generate", "generate"),
            Series("seconds_score", "score"),
            Series("seconds_round", "whole round"),
        ),
        smooth=True,
        low=0.0,
    ),
)

CURVES: dict[str, tuple[Curve, ...]] = {
    "sft": (
        Curve(
            name="loss",
            title="Loss",
            unit="nats per token",
            sentence="Falls as your answers become likely. Near zero means it knows them by heart.",
            series=(Series("loss"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="heldout_loss",
            title="Held-out loss",
            unit="nats per token",
            sentence="The same on answers it never saw. When it rises again, stop: it is memorising.",
            series=(Series("heldout_loss", low="heldout_loss_low", high="heldout_loss_high"),),
            n="heldout_loss_n",
            low=0.0,
        ),
        KL,
        GOLD,
    ),
    "dpo": (
        Curve(
            name="loss",
            title="Loss",
            unit="nats per pair",
            sentence="Falls as the model tells chosen from rejected answers apart; 0.69 is a coin toss.",
            series=(Series("loss"),),
            lines=(Line(0.6931, "coin toss"),),
            smooth=True,
            low=0.0,
        ),
        TOLD_APART,
        Curve(
            name="rewards",
            title="Reward of chosen and rejected",
            unit="reward, nats",
            sentence="Both lines may fall; what counts is that the gap between them widens.",
            series=(Series("rewards_chosen", "chosen"), Series("rewards_rejected", "rejected")),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
    "reward": (
        Curve(
            name="loss",
            title="Loss",
            unit="nats per comparison",
            sentence="Falls as it learns which answers were preferred; 0.69 is a coin toss.",
            series=(Series("loss"),),
            lines=(Line(0.6931, "coin toss"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="accuracy",
            title="Held-out choices met",
            unit="% of held-out choices",
            sentence="How often it scores the preferred answer higher, on prompts it never trained on. People agree at about 73 %.",
            series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
            lines=(Line(0.5, "guessing"),),
            percent=True,
            n="accuracy_n",
            low=0.0,
            high=1.0,
        ),
        Curve(
            name="margin",
            title="Lead of the preferred answer",
            unit="log-odds",
            sentence="How much higher the preferred held-out answer scores. Growing while accuracy stands still is over-sureness.",
            series=(Series("margin", low="margin_low", high="margin_high"),),
            lines=(Line(0.0, "none"),),
            n="accuracy_n",
        ),
        Curve(
            name="calibration",
            title="Surer than right",
            unit="points of 100",
            sentence="How sure it is minus how often it is right. Near zero is healthy; above, it is too sure.",
            series=(Series("overconfidence", low="overconfidence_low", high="overconfidence_high"),),
            lines=(Line(0.0, "as sure as right"),),
            percent=True,
            n="accuracy_n",
        ),
    ),
    "prm": (
        Curve(
            name="loss",
            title="Loss",
            unit="nats per step",
            sentence="Falls as it learns which steps are wrong, neutral or right; 1.10 is guessing among the three.",
            series=(Series("loss"),),
            lines=(Line(1.0986, "guessing"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="accuracy",
            title="Held-out steps judged right",
            unit="% of held-out steps",
            sentence="How often it judges a step as you did, in answers to prompts it never trained on.",
            series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
            percent=True,
            n="accuracy_n",
            low=0.0,
            high=1.0,
        ),
        Curve(
            name="answers",
            title="Held-out answers judged right",
            unit="% of held-out answers",
            sentence="How often it finds an answer right or wrong as a whole, as its labels say.",
            series=(Series("answers", low="answers_low", high="answers_high"),),
            percent=True,
            n="answers_n",
            low=0.0,
            high=1.0,
        ),
    ),
    "ppo": (
        Curve(
            name="reward",
            title="Reward",
            unit="reward per answer",
            sentence="What the answers earn. Should rise; if gold falls meanwhile, the reward is being fooled.",
            series=(Series("reward", "reward"), Series("reward_minus_kl", "minus KL cost")),
            smooth=True,
        ),
        GOLD,
        KL,
        ENTROPY,
        Curve(
            name="clip_fraction",
            title="Tokens held back by the clip",
            unit="% of tokens",
            sentence="Below 20 % is healthy; above, the learning rate is too large for the clip.",
            series=(Series("clip_fraction"),),
            lines=(Line(0.2, "take care"),),
            percent=True,
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="explained_variance",
            title="Value: variance explained",
            unit="share",
            sentence="How well it foresees its reward: 1 is perfect, 0 no better than the mean, below 0 worse.",
            series=(Series("explained_variance"),),
            lines=(Line(0.0, "the mean"),),
            smooth=True,
            high=1.0,
        ),
        LENGTH,
        ENDED,
        Curve(
            name="seconds",
            title="Time of each phase",
            unit="seconds per round",
            sentence="Where the time goes: writing the answers, scoring them, learning from them.",
            series=(
                Series("seconds_generate", "generate"),
                Series("seconds_score", "score"),
                Series("seconds_update", "update"),
            ),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="limit",
            title="Share of this machine's limit",
            unit="% of the least time",
            sentence="What the arithmetic alone would take, as a share of the time it took.",
            series=(Series("limit_generate", "generate"), Series("limit_update", "update")),
            percent=True,
            smooth=True,
            low=0.0,
        ),
    ),
    "rloo": SAMPLED,
    "grpo": SAMPLED,
    "kto": (
        Curve(
            name="loss",
            title="Loss",
            unit="0 to 1, weighted",
            sentence="Starts at a half of the weights; falls as good answers gain and bad ones lose.",
            series=(Series("loss"),),
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="accuracy",
            title="Held-out answers judged right",
            unit="% of held-out answers",
            sentence="How often a good answer gained more than held-out answers do on average, or a bad one less.",
            series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
            lines=(Line(0.5, "guessing"),),
            percent=True,
            n="accuracy_n",
            low=0.0,
            high=1.0,
        ),
        Curve(
            name="rewards",
            title="Reward of good and bad",
            unit="reward, nats",
            sentence="Both lines may fall; what counts is that the gap between them widens.",
            series=(Series("rewards_chosen", "good"), Series("rewards_rejected", "bad")),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
    "orpo": (
        Curve(
            name="loss",
            title="Loss",
            unit="nats",
            sentence="Falls as chosen answers become likely, and likelier than the rejected ones.",
            series=(Series("loss"), Series("imitation_loss", "imitation alone")),
            smooth=True,
            low=0.0,
        ),
        TOLD_APART,
        Curve(
            name="log_odds",
            title="Odds of chosen over rejected",
            unit="log of the ratio",
            sentence="How much likelier, per token, it finds the chosen answer. Should rise above zero.",
            series=(Series("log_odds"),),
            lines=(Line(0.0, "as likely"),),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
}
