"""Everything about ORPO but its training, which is learn/methods/orpo.py."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.learn.catalogue.curves import GOLD, KL, PAIR_ACCURACY, Curve, Line, Series
from workbench.learn.catalogue.dpo import rows, texts
from workbench.learn.catalogue.facts import ANY_SIZE, COMPARISONS, TINY, Cost, Method
from workbench.learn.catalogue.settings import AnswerArgs, setting


@dataclass(frozen=True, kw_only=True)
class ORPOArgs(AnswerArgs):
    """Odds-ratio preference optimisation (Hong et al. 2024): imitates the chosen answers, needs no reference."""

    odds_weight: float = setting(
        1.0,
        "Weight of the odds-ratio term relative to the imitation term (the paper's lambda).",
        "",
        0.0,
        100.0,
    )


METHOD = Method(
    name="orpo",
    label="ORPO",
    colour="dpo",
    line="Imitates chosen answers and avoids rejected ones, in one stage.",
    args=ORPOArgs,
    presets={"quick": {"steps": 20}, "normal": {"steps": 40}, "thorough": {"steps": 100}},
    rates=((TINY, 6e-3), (2e8, 3e-4), (2e9, 5e-5), (ANY_SIZE, 2e-5)),
    source=COMPARISONS,
    unit="pairs",
    missing="ORPO needs ranked pairs. There are none yet.",
    read=rows,
    texts=texts,
    curves=(
        Curve(
            name="loss",
            title="Loss",
            unit="nats",
            sentence="Falls as chosen answers become likely, and more likely than rejected ones.",
            series=(Series("loss"), Series("imitation_loss", "imitation alone")),
            smooth=True,
            low=0.0,
        ),
        PAIR_ACCURACY,
        Curve(
            name="log_odds",
            title="Odds of chosen over rejected",
            unit="log of the ratio",
            sentence="How much more likely, per token, the chosen answer is. Should rise above zero.",
            series=(Series("log_odds"),),
            lines=(Line(0.0, "equally likely"),),
            smooth=True,
        ),
        KL,
        GOLD,
    ),
    cost=Cost(seconds_per_example=0.02, seconds_around=5.0, sequences=2),
)
