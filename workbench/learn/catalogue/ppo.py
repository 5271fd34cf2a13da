"""Everything about PPO but its training, which is learn/methods/ppo.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.learn.catalogue.curves import ENDED, ENTROPY, GOLD, KL, LENGTH, Curve, Line, Series
from workbench.learn.catalogue.facts import ANY_SIZE, PROMPTS, TINY, Cost, Method, Row
from workbench.learn.catalogue.settings import RewardedArgs, SettingError, setting

if TYPE_CHECKING:
    from workbench.store import Store


@dataclass(frozen=True, kw_only=True)
class PPOArgs(RewardedArgs):
    """Proximal policy optimisation (Schulman et al. 2017) with a KL penalty (Ziegler et al. 2019)."""

    kl_coefficient: float = setting(
        0.1, "Weight of the KL penalty. Lower values let the policy move further.", "", 0, 10
    )
    epochs: int = setting(4, "Passes over each round's answers.", "passes", 1, 100)
    minibatches: int = setting(1, "Updates per pass.", "updates", 1, 256)
    kl_target: float | None = setting(
        None, "KL to aim for; the coefficient then adapts. Leave empty to keep it fixed.", "nats per answer", 0.01, 1000
    )
    kl_estimator: str = setting(
        "k1",
        "Estimator of the KL per token; it enters the reward as a plain number, without a gradient.",
        choices=("k1", "k2", "k3"),
    )
    gamma: float = setting(1.0, "Discount: how much a later reward counts at each token before it.", "", 0.0, 1.0)
    lam: float = setting(1.0, "GAE lambda: 1 uses full returns, 0 one-step TD.", "", 0.0, 1.0)
    clip: float = setting(
        0.2,
        "Clip range: how far a token's probability ratio may move in one round before it stops counting.",
        "",
        0.01,
        1,
    )
    value_clip: float = setting(0.2, "Clip range of the value.", "reward", 0.01, 100.0)
    value_coefficient: float = setting(0.1, "Weight of the value loss.", "", 0.0, 10.0)
    whiten_rewards: str = setting(
        "off", "Scale rewards per token to variance 1, keeping their mean.", choices=("off", "on")
    )
    stop_kl: float = setting(
        0.2,
        "Ends a round's updates early once a pass has moved the policy this far in KL; 0 turns this off.",
        "nats",
        0.0,
        100,
    )

    def check_together(self) -> None:
        super().check_together()
        if self.batch_size % self.minibatches:
            raise SettingError("minibatches", self.minibatches, f"must divide batch_size ({self.batch_size}) evenly")


def check_shared(args: PPOArgs, processes: int) -> None:
    """Raise ValueError unless so many processes can share a minibatch."""
    if args.batch_size % (processes * args.minibatches):
        raise ValueError(f"--processes {processes}: must divide batch_size ({args.batch_size}) evenly")


def rows(store: Store, model: str) -> list[Row]:
    from workbench.collect.prompts import prompt_rows

    return prompt_rows(store, model)


METHOD = Method(
    name="ppo",
    label="PPO",
    colour="ppo",
    line="Practises on {n:prompts}{own} to raise its reward.",
    args=PPOArgs,
    presets={"quick": {"steps": 40}, "normal": {"steps": 100}, "thorough": {"steps": 300}},
    rates=((TINY, 1e-3), (2e8, 2e-4), (2e9, 5e-5), (ANY_SIZE, 1e-5)),
    check_shared=check_shared,
    source=PROMPTS,
    unit="prompts",
    missing="PPO needs prompts to answer. There are none yet.",
    read=rows,
    curves=(
        Curve(
            name="reward",
            title="Reward",
            unit="reward per answer",
            sentence="Mean reward of the answers. Should rise; if gold falls meanwhile, the policy is exploiting the reward.",
            series=(Series("reward", "reward"), Series("reward_minus_kl", "minus KL cost")),
            smooth=True,
        ),
        GOLD,
        KL,
        ENTROPY,
        Curve(
            name="clip_fraction",
            title="Clip fraction",
            unit="% of tokens",
            sentence="Share of tokens whose update was clipped. Below 20 % is healthy; above, lower the learning rate.",
            series=(Series("clip_fraction"),),
            lines=(Line(0.2, "caution"),),
            percent=True,
            smooth=True,
            low=0.0,
        ),
        Curve(
            name="explained_variance",
            title="Explained variance of the value",
            unit="share",
            sentence="How well the value predicts the reward: 1 is perfect, 0 no better than the mean, below 0 worse.",
            series=(Series("explained_variance"),),
            lines=(Line(0.0, "the mean"),),
            smooth=True,
            high=1.0,
        ),
        LENGTH,
        ENDED,
        Curve(
            name="seconds",
            title="Time per phase",
            unit="seconds per round",
            sentence="Where the time goes: writing answers, scoring them and learning from them.",
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
            title="Hardware efficiency",
            unit="% of the time taken",
            sentence="Time that the arithmetic alone would need, as a share of the time taken.",
            series=(Series("limit_generate", "generate"), Series("limit_update", "update")),
            percent=True,
            smooth=True,
            low=0.0,
        ),
    ),
    cost=Cost(seconds_per_example=0.0095, seconds_around=5.0, recomputes=False),
)
