"""Everything about process reward models but their training, which is learn/methods/prm.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import Curve, Line, Series
from workbench.learn.catalogue.facts import ANY_SIZE, STEPS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import TrainArgs, setting

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class ProcessArgs(TrainArgs):
    """A process reward model from answers whose steps are labelled (Lightman et al. 2023): it judges every step."""

    steps: int = setting(160, "Number of updates.", "updates", 1, 1_000_000)
    batch_size: int = setting(32, "Answers per update, with all their steps.", "answers", 1, 4096)
    held_out: int = setting(300, "Most held-out answers used per evaluation.", "answers", 0, 10_000)
    final_prompts: int = setting(
        100, "Held-out word problems used to measure best of n at the end (sandbox only).", "prompts", 0, 10_000
    )


LABELS = {-1: "wrong", 0: "neutral", 1: "right"}


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.steps import step_rows

    return step_rows(store)


def texts(row: Row) -> dict[str, str]:
    return {"completion": "".join(row["steps"])}


def show(row: Row, texts: dict[str, str]) -> dict[str, str]:
    """The steps, each on a line of its own after its label."""
    steps = zip(row["labels"], row["steps"], strict=True)
    return {"completion": "\n".join(f"[{LABELS[label]}] {step.strip()}" for label, step in steps)}


METHOD = Method(
    name="prm",
    old_names=("process",),
    label="Process reward model",
    colour="reward",
    line="Learns to judge each step, from {n:labelled answers}.",
    args=ProcessArgs,
    presets={"quick": {"steps": 80}, "normal": {"steps": 160}, "thorough": {"steps": 320}},
    rates=((TINY, 2e-3), (2e8, 3e-4), (2e9, 1e-4), (ANY_SIZE, 5e-5)),
    source=STEPS,
    unit="labelled answers",
    missing="A process reward model needs answers whose steps are labelled. There are none yet.",
    read=rows,
    texts=texts,
    show=show,
    curves=(
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
            title="Accuracy on held-out steps",
            unit="% of held-out steps",
            sentence="How often it judges a step as you did, on prompts it never trained on.",
            series=(Series("accuracy", low="accuracy_low", high="accuracy_high"),),
            percent=True,
            n="accuracy_n",
            low=0.0,
            high=1.0,
        ),
        Curve(
            name="answers",
            title="Accuracy on held-out answers",
            unit="% of held-out answers",
            sentence="How often it judges a whole answer right or wrong as its labels do.",
            series=(Series("answers", low="answers_low", high="answers_high"),),
            percent=True,
            n="answers_n",
            low=0.0,
            high=1.0,
        ),
    ),
    cost=Cost(seconds_per_example=0.010, seconds_around=12.0),
    scores="steps",
    caution="A process reward model knows only answers like those whose steps were labelled.",
)
