"""Everything about RLOO but its training, which is learn/methods/rloo.py."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.learn.catalogue.curves import ENDED, ENTROPY, GOLD, KL, LENGTH, Curve, Series
from workbench.learn.catalogue.facts import ANY_SIZE, PROMPTS, TINY, Cost, Method
from workbench.learn.catalogue.ppo import rows
from workbench.learn.catalogue.settings import RewardedArgs, SettingError, setting


@dataclass(frozen=True, kw_only=True)
class RLOOArgs(RewardedArgs):
    """REINFORCE leave-one-out (Ahmadian et al. 2024): an answer is measured against the others to its prompt."""

    answers_per_prompt: int = setting(4, "Answers per prompt, compared with each other.", "", 2, 256)

    def check_together(self) -> None:
        super().check_together()
        if self.batch_size % self.answers_per_prompt:
            why = f"must divide batch_size ({self.batch_size}) evenly"
            raise SettingError("answers_per_prompt", self.answers_per_prompt, why)


CURVES = (
    Curve(
        name="reward",
        title="Reward",
        unit="reward per answer",
        sentence="Mean reward of the answers. Should rise; if gold falls meanwhile, the policy is exploiting the reward.",
        series=(Series("reward"),),
        smooth=True,
    ),
    GOLD,
    KL,
    ENTROPY,
    Curve(
        name="same_reward",
        title="Prompts whose answers got equal rewards",
        unit="% of prompts",
        sentence="All answers to them earned the same, so they teach nothing. Near 100 %, it has stopped learning.",
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
        title="Time per phase",
        unit="seconds per round",
        sentence="Where the time goes: writing answers, scoring them, and the whole round.",
        series=(
            Series("seconds_generate", "generate"),
            Series("seconds_score", "score"),
            Series("seconds_round", "whole round"),
        ),
        smooth=True,
        low=0.0,
    ),
)

METHOD = Method(
    name="rloo",
    label="RLOO",
    colour="ppo",
    line="PPO without a value model: each answer against its siblings.",
    args=RLOOArgs,
    presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
    rates=((TINY, 4e-3), (2e8, 2e-4), (2e9, 5e-5), (ANY_SIZE, 1e-5)),
    source=PROMPTS,
    unit="prompts",
    missing="RLOO needs prompts to answer. There are none yet.",
    read=rows,
    curves=CURVES,
    cost=Cost(seconds_per_example=0.02, seconds_around=10.0),
)
