"""Everything about GRPO but its training, which is learn/methods/grpo.py."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.learn.catalogue.facts import ANY_SIZE, PROMPTS, TINY, Cost, Method
from workbench.learn.catalogue.ppo import rows
from workbench.learn.catalogue.rloo import CURVES, RLOOArgs
from workbench.learn.catalogue.settings import setting


@dataclass(frozen=True, kw_only=True)
class GRPOArgs(RLOOArgs):
    """Group relative policy optimisation (Shao et al. 2024): RLOO with every prompt's rewards brought to one scale."""

    kl_coefficient: float = setting(
        0.2,
        "Weight of the KL penalty, for rewards of deviation 1. Lower values let the policy move further.",
        "",
        0,
        10,
    )
    loss: str = setting(
        "dapo",
        "dapo: every token counts the same; grpo: every answer does; dr_grpo: as dapo, but rewards keep their scale.",
        choices=("dapo", "grpo", "dr_grpo"),
    )


METHOD = Method(
    name="grpo",
    label="GRPO",
    colour="ppo",
    line="As RLOO, rewards normalised per prompt.",
    args=GRPOArgs,
    presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
    rates=((TINY, 4e-3), (2e8, 2e-4), (2e9, 5e-5), (ANY_SIZE, 1e-5)),
    source=PROMPTS,
    unit="prompts",
    missing="GRPO needs prompts to answer. There are none yet.",
    read=rows,
    curves=CURVES,
    cost=Cost(seconds_per_example=0.017, seconds_around=10.0),
)
