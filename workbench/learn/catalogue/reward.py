"""Everything about reward models but their training, which is learn/methods/reward.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import Curve, Line, Series
from workbench.learn.catalogue.facts import ANY_SIZE, COMPARISONS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import TrainArgs, setting

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class RewardArgs(TrainArgs):
    """A reward model from comparisons (Bradley & Terry 1952): it scores answers and writes none."""

    steps: int = setting(80, "Number of updates.", "updates", 1, 1_000_000)
    batch_size: int = setting(16, "Comparisons per update.", "comparisons", 1, 4096)
    held_out: int = setting(300, "Most held-out comparisons used per evaluation.", "comparisons", 0, 10_000)


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.comparisons import ranking_rows

    return ranking_rows(store)


def texts(row: Row) -> dict[str, str]:
    return {f"answer {k}": text for k, text in enumerate(row["answers"])}


def show(row: Row, texts: dict[str, str]) -> dict[str, str]:
    """The ranking as one text, best answer first, each after its place."""
    ranked = sorted((place + 1, texts[f"answer {k}"]) for k, place in enumerate(row["places"]))
    return {"completion": "\n".join(f"{place}. {text}" for place, text in ranked)}


METHOD = Method(
    name="reward",
    label="Reward model",
    colour="reward",
    line="Learns to score answers from {n:comparisons}.",
    args=RewardArgs,
    presets={"quick": {"steps": 40}, "normal": {"steps": 80}, "thorough": {"steps": 200}},
    rates=((TINY, 2e-3), (2e8, 3e-4), (2e9, 1e-4), (ANY_SIZE, 5e-5)),
    source=COMPARISONS,
    unit="comparisons",
    missing="A reward model needs ranked answers. There are none yet.",
    read=rows,
    texts=texts,
    show=show,
    curves=(
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
            title="Accuracy on held-out pairs",
            unit="% of held-out pairs",
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
            title="Reward margin",
            unit="log-odds",
            sentence="How much higher the preferred answer scores. If this grows while accuracy is flat, the model is overconfident.",
            series=(Series("margin", low="margin_low", high="margin_high"),),
            lines=(Line(0.0, "none"),),
            n="accuracy_n",
        ),
        Curve(
            name="calibration",
            title="Overconfidence",
            unit="percentage points",
            sentence="Mean confidence minus accuracy. Near zero is healthy; above it, the model is overconfident.",
            series=(Series("overconfidence", low="overconfidence_low", high="overconfidence_high"),),
            lines=(Line(0.0, "perfectly calibrated"),),
            percent=True,
            n="accuracy_n",
        ),
    ),
    cost=Cost(seconds_per_example=0.013, seconds_around=16.0, sequences=2),
    scores="answers",
)
